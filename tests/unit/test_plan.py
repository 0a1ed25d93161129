"""Plans: every frame in exactly one shard, cuts where shots change, keys that say what decides a pixel."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.cuts import Span, cut_spans, shot_cuts
from tasks.errors import PermanentError, SourceChanged
from tasks.media.picture.colour import Colour
from tasks.media.reading.limits import Limits
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import Timeline, read_timeline
from tasks.plan import Plan, plan_title
from tasks.profile import ShardSettings, read_profile
from tasks.records import content_key
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.store import Store
from tests import broken
from tests.clips import Clip, make
from tests.mastered import flip
from vsr_model.contract import ModelInfo

FILM = Clip(frames=85, cuts=(30, 48), gop=9)


def planned(source: Path, store: Path, **settings: Any) -> Plan:
    profile = read_profile(None, {"scale": 2, **{k.replace("__", "."): v for k, v in settings.items()}})
    (title,) = scan(str(source), str(store.parent / "out"), profile)
    assert not title.refused
    return plan_title(title, profile, Store(str(store)))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("film") / "film.mkv", FILM)


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 17, 100, 241])
@pytest.mark.parametrize("cuts", [(), (1,), (50,), (16, 17, 18), (20, 40, 60, 80), tuple(range(1, 100))])
@pytest.mark.parametrize("longest", [1, 7, 16, 50, 1000])
@pytest.mark.parametrize("around", [0, 5])
def test_every_frame_is_in_exactly_one_shard(frames: int, cuts: tuple[int, ...], longest: int, around: int) -> None:
    cuts = tuple(cut for cut in cuts if cut < frames)
    info = ModelInfo("temporal", (2,), warm_up=around, look_ahead=around, chunk=4)
    spans = list(cut_spans(frames, cuts, ShardSettings(frames=longest), info))
    assert [spans[0].start, spans[-1].stop] == [0, frames]
    assert all(one.stop == other.start for one, other in pairwise(spans))
    for span in spans:
        assert 0 < span.stop - span.start <= longest
        assert 0 <= span.warm_up < around + 4
        shot = max((cut for cut in cuts if cut <= span.start), default=0)
        assert span.warm_up >= min(around, span.start - shot)
        assert (span.start - span.warm_up - shot) % 4 == 0
        assert 0 <= span.look_ahead <= min(around, frames - span.stop)
        assert not any(span.stop <= cut < span.stop + span.look_ahead for cut in cuts), "looks ahead over a cut"
        assert not any(span.start - span.warm_up < cut <= span.start for cut in cuts), "warm-up reaches over a cut"


def test_shards_end_at_the_last_shot_in_reach_and_long_shots_in_equal_parts() -> None:
    info = ModelInfo("temporal", (2,), warm_up=10, look_ahead=4, chunk=8)
    spans = list(cut_spans(300, (40, 70, 90), ShardSettings(frames=80, shortest=16), info))
    assert spans == [
        Span(0, 70, 0, 0, "start"),
        Span(70, 90, 0, 0, "shot"),
        Span(90, 160, 0, 4, "shot"),
        Span(160, 230, 14, 4, "length"),
        Span(230, 300, 12, 0, "length"),
    ]


def test_a_plan_cuts_where_the_film_does(film: Path, tmp_path: Path) -> None:
    plan = planned(film, tmp_path / "store", shards__frames=40)
    assert plan.cuts == shot_cuts(plan.timeline, 10.0) == FILM.cuts
    assert [(s.start, s.stop, s.cut) for s in plan.shards] == [(0, 30, "start"), (30, 48, "shot"), (48, 85, "shot")]
    assert [s.name for s in plan.shards] == ["film.mkv [0,30)", "film.mkv [30,48)", "film.mkv [48,85)"]
    assert [work.window.start for work in plan.work] == [0, 30, 48]


def test_the_same_film_elsewhere_has_the_same_keys(film: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "other name.mkv"
    moved.parent.mkdir()
    moved.write_bytes(film.read_bytes())
    one, other = planned(film, tmp_path / "a"), planned(moved, tmp_path / "b")
    assert [s.key for s in one.shards] == [s.key for s in other.shards]


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 3},
        {"scale": 1.5},
        {"seed": 1},
        {"model": "bicubic"},
        {"precision": "float32"},
        {"tile": 32},
        {"tile": "auto"},
        {"master__bit_depth": 12},
        {"master__chroma": "444"},
    ],
    ids=str,
)
def test_what_decides_a_pixel_changes_every_key(change: dict[str, Any], film: Path, tmp_path: Path) -> None:
    before = {s.key for s in planned(film, tmp_path / "store").shards}
    assert not before & {s.key for s in planned(film, tmp_path / "store", **change).shards}


@pytest.mark.parametrize(
    "change",
    [{"master__quality": 30}, {"master__codec": "h264"}, {"retry__attempts": 9}, {"check__fidelity": 1.0}],
    ids=str,
)
def test_what_decides_no_pixel_changes_no_key(change: dict[str, Any], film: Path, tmp_path: Path) -> None:
    before = [s.key for s in planned(film, tmp_path / "store").shards]
    assert before == [s.key for s in planned(film, tmp_path / "store", **change).shards]


def test_a_whole_scale_is_hashed_as_a_whole_number_and_all_spellings_of_another_alike(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made before there were other scales stays where it is found."""
    hashed: list[Any] = []

    def watched(parts: dict[str, Any]) -> str:
        hashed.append(parts["scale"])
        return content_key(parts)

    monkeypatch.setattr("tasks.plan.content_key", watched)

    def keys(scale: object) -> list[str]:
        return [shard.key for shard in planned(film, tmp_path / "store", scale=scale).shards]

    assert keys(2) == keys(2.0) == keys("2") == keys("4/2")
    assert set(map(repr, hashed)) == {"2"}
    assert keys(1.5) == keys("1.50") == keys("3/2")


def test_how_tiles_overlap_matters_where_there_are_tiles(film: Path, tmp_path: Path) -> None:
    def keys(**change: Any) -> list[str]:
        return [s.key for s in planned(film, tmp_path / "store", **change).shards]

    assert keys() == keys(tile_overlap=8)
    assert not set(keys(tile=96)) & set(keys(tile=96, tile_overlap=8))


def test_where_weights_lie_decides_no_pixel(film: Path, tmp_path: Path) -> None:
    plain, unloaded, sparser = (
        [s.key for s in planned(film, tmp_path / "store", model="flashvsr-test", **change).shards]
        for change in ({}, {"flashvsr__unload_dit": True}, {"flashvsr__sparse_ratio": 1.5})
    )
    assert plain == unloaded
    assert not set(plain) & set(sparser)


def test_another_cut_changes_only_the_shards_it_touches(film: Path, tmp_path: Path) -> None:
    wide = planned(film, tmp_path / "store", shards__frames=40)
    narrow = planned(film, tmp_path / "store", shards__frames=30)
    assert {(s.start, s.stop) for s in narrow.shards} & {(s.start, s.stop) for s in wide.shards} == {(0, 30), (30, 48)}
    assert {s.key for s in wide.shards[:2]} == {s.key for s in narrow.shards[:2]}


def test_a_changed_source_has_other_keys_even_at_the_same_place(film: Path, tmp_path: Path) -> None:
    place = tmp_path / "film.mkv"
    place.write_bytes(film.read_bytes())
    before = {s.key for s in planned(place, tmp_path / "store").shards}
    make(place, replace(FILM, cuts=(30, 49)))
    assert not before & {s.key for s in planned(place, tmp_path / "store").shards}


@pytest.mark.parametrize("when", ["before it is read", "while it is read"])
def test_a_source_that_changes_under_way_is_noticed_and_leaves_nothing(
    when: str, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "film.mkv"
    place.write_bytes(film.read_bytes())
    profile, store = read_profile(None, {"scale": 2}), Store(str(tmp_path / "store"))
    (title,) = scan(str(place), str(tmp_path / "out"), profile)

    def reading(source: Source, stream: int, limits: Limits, hdr: Colour | None) -> Timeline:
        table = read_timeline(source, stream, limits, hdr)
        make(place, replace(FILM, cuts=(30, 49)))
        return table

    if when == "while it is read":
        monkeypatch.setattr("tasks.remembered.read_timeline", reading)
    else:
        make(place, replace(FILM, cuts=(30, 49)))
    with pytest.raises(SourceChanged, match=r"film.mkv: was changed during the run .* Run again"):
        plan_title(title, profile, store)
    assert store.list("timelines") == []


def test_a_title_is_decoded_for_planning_once(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = planned(film, tmp_path / "store")
    monkeypatch.setattr("tasks.remembered.read_timeline", None)
    again = planned(film, tmp_path / "store", scale=4)
    assert again.timeline.pts.tolist() == first.timeline.pts.tolist()


@pytest.mark.parametrize("what", ["fingerprints", "timelines"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_what_was_damaged_in_the_store_is_made_anew(what: str, share: float, film: Path, tmp_path: Path) -> None:
    first = planned(film, tmp_path / "store")
    (kept,) = (tmp_path / "store" / what).iterdir()
    whole = kept.read_bytes()
    flip(kept, int(share * len(whole)))
    again = planned(film, tmp_path / "store")
    assert (again.fingerprint, [shard.key for shard in again.shards]) == (
        first.fingerprint,
        [shard.key for shard in first.shards],
    )
    assert kept.read_bytes() == whole


def test_a_fingerprint_of_an_older_version_is_taken_anew(film: Path, tmp_path: Path) -> None:
    first = planned(film, tmp_path / "store")
    (kept,) = (tmp_path / "store" / "fingerprints").iterdir()
    kept.write_text("0" * 64)
    assert planned(film, tmp_path / "store").fingerprint == first.fingerprint


MKV = Clip(frames=60, width=128, height=96, gop=6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut.mkv", "is truncated or damaged: the file ends .* bytes before .* Fetch a whole copy"),
        ("noise.mkv", "is truncated or damaged: its structure breaks off at byte"),
        ("noise.ts", "is damaged at .* Fetch a good copy"),
        ("noise.mp4", "is damaged at .* Fetch a good copy"),
        ("sizes.ts", r"changes from \(64, 48, .*split the file there"),
        ("small.mkv", "h265 cannot encode its master of 4x4"),
        ("odd.mkv", "its master would be 126x74|needs multiples"),
    ],
)
def test_what_cannot_be_remastered_well_is_refused_with_the_way_out(name: str, words: str, tmp_path: Path) -> None:
    path, suffix = tmp_path / name, Path(name).suffix
    if name.startswith(("cut", "noise")):
        whole = make(tmp_path / f"whole{suffix}", MKV)
        broken.cut(path, 0.6, whole) if name.startswith("cut") else broken.with_noise(path, whole)
    elif name == "sizes.ts":
        broken.size_changes(path)
    elif name == "small.mkv":
        make(path, Clip(frames=2, width=2, height=2, codec="ffv1", audio=""))
    else:
        make(path, Clip(frames=2, width=63, height=37, codec="ffv1", audio=""))
    settings = {"scale": 1} if name == "odd.mkv" else {}
    with pytest.raises(PermanentError, match=f"(?s){path.name}: .*({words})"):
        planned(path, tmp_path / "store", **settings)


@pytest.mark.parametrize("flagged", [True, False])
def test_interlaced_titles_are_deinterlaced_unless_a_person_knows_better(flagged: bool, tmp_path: Path) -> None:
    path = broken.interlaced(tmp_path / "film.mp4", flagged)
    plans = {c: planned(path, tmp_path / "store", cadence=c) for c in ("auto", "progressive", "deinterlace")}
    assert {plan.reading.cadence for plan in plans.values()} == {"top"}
    assert {name: plan.reading.treatment for name, plan in plans.items()} == {
        "auto": "deinterlace", "progressive": "pass", "deinterlace": "deinterlace",
    }  # fmt: skip
    assert all(len(plan.shown) == 20 for plan in plans.values())
    keys = {name: [shard.key for shard in plan.shards] for name, plan in plans.items()}
    assert keys["auto"] == keys["deinterlace"] != keys["progressive"]


def test_a_shard_of_fields_is_read_with_its_neighbours(tmp_path: Path) -> None:
    path = broken.interlaced(tmp_path / "film.mp4", flagged=True)
    works = planned(path, tmp_path / "store", shards__frames=8, shards__shortest=2).work
    assert [(w.window.start, len(w.window.pts), len(w.recipe)) for w in works] == [(0, 8, 7), (6, 9, 7), (13, 7, 6)]


def test_a_networks_settings_change_the_keys_of_its_shards_and_of_no_others(film: Path, tmp_path: Path) -> None:
    def keys(model: str, **settings: Any) -> list[str]:
        return [s.key for s in planned(film, tmp_path / "store", model=model, **settings).shards]

    assert keys("flashvsr-test") != keys("flashvsr-test", flashvsr__sparse_ratio=1.5)
    assert keys("lanczos") == keys("lanczos", flashvsr__sparse_ratio=1.5)


def test_shards_left_to_the_network_are_long_where_it_is_given_many_frames_besides() -> None:
    """So that a network that settles slowly does not spend a fifth of its time on it."""

    def longest(info: ModelInfo) -> int:
        return max(span.stop - span.start for span in cut_spans(5000, (), ShardSettings(), info))

    assert longest(ModelInfo("quick", (2,), warm_up=12)) <= 240
    spans = list(cut_spans(5000, (), ShardSettings(), ModelInfo("slow", (2,), warm_up=24, look_ahead=24)))
    besides = sum(span.warm_up + span.look_ahead for span in spans)
    assert besides <= 5000 / 15
    assert longest(ModelInfo("slow", (2,), warm_up=24, look_ahead=24)) <= 864
    assert longest(ModelInfo("slower", (2,), warm_up=96, look_ahead=24)) <= 1440


@pytest.mark.parametrize(
    ("woven", "cadence", "words"),
    [
        (True, "auto", "is interlaced (top field first"),
        (True, "deinterlace", "is interlaced (top field first"),
        (True, "progressive", 'set cadence to "auto"'),
        (False, "deinterlace", "does not look interlaced"),
        (False, "auto", ""),
        (False, "progressive", ""),
    ],
)
def test_a_forced_cadence_that_goes_against_what_is_seen_is_said_with_the_fix(
    woven: bool, cadence: str, words: str, film: Path, tmp_path: Path
) -> None:
    source = broken.interlaced(tmp_path / "woven.mp4", flagged=True) if woven else film
    said = " ".join(remarks(planned(source, tmp_path / "store", cadence=cadence)))
    assert words in said
    assert ("interlaced" in said) == bool(words)
