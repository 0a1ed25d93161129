"""What a preview shows is what a run would make, found without reading the rest of the title."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.preview import _seconds, _size, write_preview
from flows.request import Excerpt
from tasks.comparison import SOURCE, Comparison, _pictures, compare_networks
from tasks.comparison_page import MOST_BYTES, comparison_page
from tasks.errors import UnsupportedSource, UsageError
from tasks.media.cadence.read import Window, read_window
from tasks.media.picture.bars import Bars
from tasks.media.picture.pixels import Layout, Planes
from tasks.media.reading.source import Source
from tasks.media.reading.stretch import read_stretch
from tasks.media.reading.timeline import read_timeline
from tasks.plan import plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.records import Record, Work
from tasks.scan import examine
from tasks.store import Store
from tests.clips import Clip, make
from tests.fielded import film as film_of
from tests.fielded import video, write

PROFILE = read_profile(None, {"scale": 2, "shards.frames": 1000, "master.preset": "ultrafast"})


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("film") / "film.mkv", Clip(frames=96, width=128, height=96, gop=12, cuts=(50,)))


def compare(
    film: Path, *models: str, at: float = 2.0, seconds: float = 1.0, part: tuple[int, int] = (0, 0)
) -> Comparison:
    return compare_networks(examine("film.mkv", str(film), PROFILE), PROFILE, models, at, seconds, part, 4)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
@pytest.mark.parametrize("start", [0.0, 0.6, 2.0])
def test_a_stretch_is_rows_of_the_titles_table(suffix: str, start: float, tmp_path: Path) -> None:
    source = Source(str(make(tmp_path / f"film{suffix}", Clip(frames=72, gop=12))), "film")
    whole = read_timeline(source, 0)
    stretch = read_stretch(source, 0, start, start + 0.5, 3)
    (first,) = np.flatnonzero(whole.pts == stretch.timeline.pts[0])
    rows = slice(first, first + len(stretch.timeline))
    for name in ("pts", "checksum", "key", "flagged", "black"):
        assert np.array_equal(getattr(whole, name)[rows], getattr(stretch.timeline, name)), name
    shown = [seconds for seconds in stretch.seconds if seconds >= start]
    assert len(shown) == 12
    assert len(stretch.seconds) - len(shown) >= min(3, round(start * 24))
    assert len(stretch.seconds) < len(whole) or start == 2.0


@pytest.mark.parametrize(("at", "off"), [(0.0, 0), (1.0, 1)], ids=["beginning", "middle"])
def test_it_shows_what_a_run_makes(at: float, off: int, film: Path, tmp_path: Path) -> None:
    """To the bit where frames have the same numbers; elsewhere dither, which knows frames by these, is another."""
    found = compare(film, "lanczos", at=at)
    assert [each.model for each in found.candidates] == [SOURCE, "lanczos"]
    frames = [round(seconds * 24) for seconds in found.moments]
    assert frames == [round(at * 24) + n for n in (0, 7, 15, 23)]
    store = Store(str(tmp_path / "store"))
    plan = plan_title(examine("film.mkv", str(film), PROFILE), PROFILE, store)
    (work,) = plan.work
    record = ShardWorker(WorkerSettings("lanczos")).upscale(work)
    made = _pictures(record, plan, work.shard, frames, store).int()
    assert (found.candidates[1].pictures_T3HW.int() - made).abs().max() <= off


def test_at_any_scale_all_that_is_compared_has_one_size(film: Path) -> None:
    """Of 53 x 41 source pixels, of which fours are taken, at 1.3."""
    profile = read_profile(None, {"scale": 1.3, "shards.frames": 1000})
    title = examine("film.mkv", str(film), profile)
    found = compare_networks(title, profile, ("lanczos", "swift"), 1.0, 0.2, (41, 53), 2)
    assert (found.scale, found.part.within(96, 128)) == ("1.3", (40, 52))
    assert [tuple(each.pictures_T3HW.shape) for each in found.candidates] == [(2, 3, 52, 68)] * 3  # 67.6
    assert min(each.fidelity for each in found.candidates[1:]) > 30.0
    assert "1.3" in comparison_page(found)


def test_what_a_network_looks_ahead_ends_with_the_shot(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead: list[int] = []

    def noted(worker: ShardWorker, work: Work) -> Record:
        ahead.append(work.shard.look_ahead)
        return upscale(worker, work)

    upscale = ShardWorker.upscale
    monkeypatch.setattr(ShardWorker, "upscale", noted)
    for at in (1.5, 2.0):  # 12 frames each; the next shot begins at frame 50
        compare(film, "flashvsr-test", at=at, seconds=0.5, part=(16, 16))
    assert ahead == [2, 24]


@pytest.mark.parametrize("at", [0.0, 1.01, 2.0])
def test_a_moment_shorter_than_a_frame_is_one_frame(at: float, film: Path) -> None:
    found = compare(film, "lanczos", at=at, seconds=0.001, part=(16, 16))
    assert [round(seconds * 24) for seconds in found.moments] == [math.ceil(at * 24)]


def test_nothing_before_the_stretch_of_an_interlaced_title_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fields are looked at from the key frame before the stretch on, and its flags are not counted."""
    path = write(tmp_path / "film.mkv", video(film_of(120)), "mpeg2video", options={"g": "6", "bf": "0", "q": "2"})
    sought: list[tuple[int, ...]] = []

    def noted(source: Source, stream: int, layout: Layout, wanted: Window) -> Iterator[Planes]:
        sought.append(wanted.seeks)
        return read_window(source, stream, layout, wanted)

    monkeypatch.setattr("tasks.reading.read_window", noted)
    monkeypatch.setattr("tasks.reading.count_repeat_flags", None)
    title = examine("film.mkv", str(path), PROFILE)
    deinterlaced = read_profile(None, {"scale": 2, "cadence": "fields"})
    found = compare_networks(title, deinterlaced, ["lanczos"], 1.0, 0.2, (16, 16), 4)
    assert len(found.moments) == 4
    assert title.probe is not None
    start = title.probe.time_base.denominator  # ticks of a second
    assert [len(seeks) for seeks in sought] == [1]
    first = read_timeline(Source(str(path), "film"), title.probe.stream).pts[0]
    assert 0.5 * start < sought[0][0] - first <= 1.0 * start


def test_a_part_is_where_the_edges_are_and_of_the_size_asked_for(film: Path) -> None:
    found = compare(film, "bicubic", part=(32, 48))
    assert found.part.within(96, 128) == (32, 48)
    assert {tuple(each.pictures_T3HW.shape) for each in found.candidates} == {(4, 3, 64, 96)}
    assert compare(film, "bicubic", part=(500, 500)).part == Bars()


def test_a_network_with_a_memory_is_led_up_to_the_stretch(film: Path) -> None:
    found = compare(film, "swift", "lanczos", seconds=0.2, part=(32, 32))
    assert [each.model for each in found.candidates] == [SOURCE, "swift", "lanczos"]
    assert all(each.fidelity > 15 and each.rate > 0 for each in found.candidates[1:])


def test_what_cannot_be_used_is_named_and_the_others_are_shown(film: Path) -> None:
    found = compare(film, "lanczos", "lanczoz", seconds=0.1, part=(32, 32))
    assert [name for name, _ in found.left_out] == ["lanczoz"]
    assert "did you mean lanczos" in comparison_page(found)
    with pytest.raises(UsageError, match="lanczoz"):
        compare(film, "lanczoz")
    with pytest.raises(UsageError, match="shows nothing from 60 s on"):
        compare(film, "lanczos", at=60.0)
    with pytest.raises(UnsupportedSource, match="cannot be read"):
        compare(film.with_name("nowhere.mkv"), "lanczos")


def test_a_page_stays_small_whatever_is_on_it(film: Path) -> None:
    found = compare(film, "lanczos", seconds=0.2, part=(32, 32))
    noise = torch.randint(0, 256, (4, 3, 1080, 1920), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    heavy = [type(each)(each.model, noise, each.rate, each.fidelity) for each in found.candidates]
    page = comparison_page(Comparison(**{**vars(found), "candidates": tuple(heavy)}))
    assert len(page.encode()) < MOST_BYTES


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("1:30", 90.0), ("00:01:30.5", 90.5), ("1:00:00", 3600.0)])
def test_moments_are_read_as_players_show_them(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


def test_options_that_are_none_are_named(film: Path, tmp_path: Path) -> None:
    for text in ("", "1:2:3:4", "-5", "soon"):
        with pytest.raises(UsageError, match="--at"):
            _seconds(text)
    for text in ("320", "8x8", "axb"):
        with pytest.raises(UsageError, match="--part"):
            _size(text)
    page = str(tmp_path / "none" / "page.html")
    with pytest.raises(UsageError, match="--page"):
        write_preview(Excerpt(title=str(film), models=["lanczos"], seconds=0.1, part="32x32"), PROFILE, page)
