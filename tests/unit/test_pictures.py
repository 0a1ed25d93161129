"""A published master is held against its source frame by frame, and the shard to make again is named."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.check import check_master
from tasks.judge import FLICKER, steadiness
from tasks.media.reading.source import Source
from tasks.pictures import likeness_of, watch_master
from tasks.profile import Profile, read_profile
from tasks.records import CheckResult
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.mastered import Mastered


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    folder = tmp_path_factory.mktemp("looked at")
    return mastered.remaster(mastered.library(folder / "films"), str(folder / "out"), str(folder / "store"))


def with_swapped_frames(master: Path, other: Path, at: int) -> Path:
    """The picture of a master without loss, but with two neighbours in the wrong order."""
    with av.open(str(master)) as container:
        frames = list(container.decode(video=0))
    frames[at], frames[at + 1] = frames[at + 1], frames[at]
    with av.open(str(other), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return other


def judged(done: Mastered, profile: Profile, uri: str) -> CheckResult:
    _, likeness = watch_master(Source(uri, "master"), 0, done.plan)
    return check_master(done.plan, profile, replace(done.master, uri=uri, picture=0), done.records, likeness)


def test_frames_in_the_wrong_order_are_found_in_the_shard_that_has_them(done: Mastered, tmp_path: Path) -> None:
    shard = done.plan.shards[1]
    at = (shard.start + shard.stop) // 2
    wrong = with_swapped_frames(Path(done.master.uri), tmp_path / "swapped.mkv", at)
    found = [line for line in judged(done, done.profile, str(wrong)).lines if line[0] == f"shard {shard.name}"]
    assert found and not any(kept for _, kept, _ in found)
    assert found[0][2].startswith(f"out of order, frames [{at},{at + 2})")

    only_told = read_profile(None, {**mastered.SETTINGS, "check.picture": "report"})
    told = [line for line in judged(done, only_told, str(wrong)).lines if line[0] == f"shard {shard.name}"]
    assert len(told) == len(found) and all(kept for _, kept, _ in told)


def test_a_good_master_says_how_steady_it_is_by_what_is_judged(done: Mastered) -> None:
    likeness = likeness_of(done.master, done.plan, Store(done.store))
    # Where it differs from the source otherwise in each frame, and changes no more than that, it does not flicker.
    for seen in (likeness, replace(likeness, flicker=likeness.flicker + 2 * FLICKER)):
        most = np.nanmax(steadiness(seen, done.plan.shards, done.plan.cuts))
        lines = check_master(done.plan, done.profile, done.master, done.records, seen).lines
        assert [said for name, _, said in lines if name == "picture"] == [
            f"25 frames like the source's; flicker {most:.2f} of 255 at most"
        ]
        assert most < 0.5 * FLICKER


def test_what_was_seen_is_kept_and_seen_again_if_it_is_damaged(done: Mastered) -> None:
    store = Store(done.store)
    (place,) = store.list("likeness")
    first = likeness_of(done.master, done.plan, store)
    store.write(place, b"not what it was")
    again = likeness_of(done.master, done.plan, store)
    assert store.read(place) != b"not what it was"
    np.testing.assert_array_equal(first.apart, again.apart)


@pytest.mark.parametrize("codec", ["h264", "h265", "ffv1"])
def test_gray_masters_pass_also_where_decoders_add_a_chroma_without_colour(codec: str, tmp_path: Path) -> None:
    make(tmp_path / "films" / "film.mkv", Clip(frames=5, width=67, height=55, codec="ffv1", pix_fmt="gray", audio=""))
    places = (tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"))
    preset = None if codec == "ffv1" else "ultrafast"
    made = mastered.remaster(*places, scale=1.5, **{"master.codec": codec, "master.preset": preset})
    assert made.plan.master_size == (83, 101)  # 82.5 x 100.5
    likeness = likeness_of(made.master, made.plan, Store(made.store))
    lines = check_master(made.plan, made.profile, made.master, made.records, likeness).lines
    assert [line for line in lines if not line[1]] == []
