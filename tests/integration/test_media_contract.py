"""The media contract, end to end: generated and real sources through `remaster run`, each held against its master.

A few of every kind are in the ordinary suite; the evaluation clips are slow, and the whole set has a target of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tasks.media.contract.contract import compare
from tasks.media.contract.rows import Row
from tasks.media.reading.source import Source
from tests.conftest import Remaster
from tests.contract import assert_keeps
from tests.torture import TORTURE, write

FAST = ("--scale", "2", "--set", "master.preset=ultrafast", "--set", "shards.shortest=3")
# Every title in pieces; a few long ones where time counts.
PIECES, FEW = ("--set", "shards.frames=7"), ("--set", "shards.frames=24")
DOZEN = [
    "times/8n+5.mp4", "times/8n+7.mkv", "times/edit list.mov", "times/broadcast/wrap.ts", "times/late sound.mkv",
    "streams/sounds.mkv", "streams/subtitles.mkv", "streams/cover.mkv", "streams/captions.mp4",
    "streams/companion.mkv", "streams/tags.mov", "pictures/mirrored.mp4", "pictures/anamorphic vp9.webm",
]  # fmt: skip
REST = [name for name in TORTURE if name not in DOZEN]
HDR_CLIPS = (
    "dovi_hlg_rotated_editlist_vfr.mp4", "hdr10_av1_mdcv_clli_1080p60.mp4", "hdr10_av1_portrait_720x1280.mp4",
    "hdr10_pq_1080p_hevc10.mp4", "hlg_1080p_hevc10_vfr.mp4",
)  # fmt: skip
# Those of many pixels, at which most of the time goes.
LONG_CLIPS = (
    "bbb_trailer_720p24.mp4", "subs_srt_1080x720.mkv", "subs_pgs_1080x720.mkv", "tears_of_steel_800x332_vp8.webm",
    "sam2_blocks_720p30.mp4", "sam2_coffee_720p30.mp4", "sam2_cups_720p30.mp4", "sam2_dog_720p30.mp4",
    "sam2_juggle_720p24.mp4",
)  # fmt: skip
# What a master may differ in, by the row's name: all of it follows from remastering, or from what MP4 is.
LAWFUL = ("size", "pixel format", "colour", "chroma siting", "times", "disposition", "interlaced", "Dolby Vision")


@dataclass(frozen=True)
class Finished:
    """A library and how each of its titles ended."""

    library: Path
    outcomes: dict[str, dict[str, str]]

    def rows(self, name: str) -> tuple[Row, ...]:
        """The contract of a title, which must be done."""
        outcome = self.outcomes[name]
        assert outcome["state"] == "done", outcome["reason"]
        source, master = self.library / name, Path(outcome["master"])
        return compare(Source(str(source), name), Source(str(master), master.name))


def finish(remaster: Remaster, library: Path, output: Path, *arguments: str) -> Finished:
    result = remaster("run", library, output, *arguments, timeout=1700)
    assert result.returncode in {0, 3}, result.stdout + result.stderr
    (run,) = (output / ".remaster" / "runs").iterdir()
    outcomes = [json.loads(file.read_text()) for file in run.glob("outcomes/*.json")]
    return Finished(library, {outcome["title"]: outcome for outcome in outcomes})


@pytest.fixture(scope="module")
def some(remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("some")
    return finish(remaster, write(folder / "library", DOZEN), folder / "out", *FAST, *FEW)


@pytest.fixture(scope="module")
def rest(remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """The rest of the set, a run for each kind."""

    @cache
    def of(kind: str) -> Finished:
        folder = tmp_path_factory.mktemp(kind)
        names = [name for name in REST if name.startswith(f"{kind}/")]
        return finish(remaster, write(folder / "library", names), folder / "out", *FAST, *PIECES)

    return of


def finish_clips(remaster: Remaster, clips: list[Path], folder: Path, codec: str = "h264") -> Finished:
    """Scale 1: the contract does not depend on the scale, the time it takes does."""
    (folder / "library").mkdir()
    for clip in clips:
        (folder / "library" / clip.name).symlink_to(clip)
    fast = ("--scale", "1", "--set", f"master.codec={codec}", "--set", "master.preset=ultrafast")
    return finish(remaster, folder / "library", folder / "out", *fast)


def assert_nothing_lost(rows: tuple[Row, ...]) -> None:
    assert [row for row in rows if row.verdict == "lost"] == []
    assert [row for row in rows if row.verdict == "changed" and not any(word in row.name for word in LAWFUL)] == []


@pytest.mark.parametrize("name", DOZEN)
def test_a_master_keeps_all_that_its_source_carries(name: str, some: Finished) -> None:
    assert_nothing_lost(some.rows(name))


def assert_squared(remaster: Remaster, names: list[str], folder: Path) -> None:
    done = finish(
        remaster, write(folder / "library", names), folder / "out", *FAST, *PIECES,
        "--set", "master.pixel_aspect=square",
    )  # fmt: skip
    for name in names:
        rows = {row.name: row for row in done.rows(name)}
        assert rows.pop("pixel aspect").verdict == "changed"
        assert_nothing_lost(tuple(rows.values()))


def test_pixels_become_square_if_asked(remaster: Remaster, tmp_path: Path) -> None:
    assert_squared(remaster, ["pictures/anamorphic av1.mp4", "pictures/anamorphic prores.mov"], tmp_path)


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_pixels_of_every_kind_become_square(remaster: Remaster, tmp_path: Path) -> None:
    assert_squared(remaster, [name for name in TORTURE if "anamorphic" in name], tmp_path)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", REST)
def test_the_whole_torture_set_is_kept(name: str, rest: Callable[[str], Finished]) -> None:
    assert_nothing_lost(rest(name.split("/")[0]).rows(name))


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_the_model_with_a_memory_keeps_frames_and_times_too(remaster: Remaster, tmp_path: Path) -> None:
    names = [name for name in DOZEN if name.startswith("times/")]
    library = write(tmp_path / "library", names)
    extra = ("--model", "flashvsr-test", "--set", "check.fidelity=1")
    done = finish(remaster, library, tmp_path / "out", *FAST, *PIECES, *extra)
    for name in names:
        assert_nothing_lost(done.rows(name))


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_a_picture_that_several_encoders_encode_keeps_it_too(codec: str, remaster: Remaster, tmp_path: Path) -> None:
    names = [name for name in TORTURE if name.startswith(("times/", "streams/captions", "pictures/"))]
    names.remove("pictures/12 bit.mkv")  # more than H.264 holds
    library = write(tmp_path / "library", names)
    ranges = ("--set", f"master.codec={codec}", "--set", "master.ranges=3")
    done = finish(remaster, library, tmp_path / "out", *FAST, *PIECES, *ranges)
    for name in names:
        assert_nothing_lost(done.rows(name))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_short_clip_keeps_its_contract(shared_clips: Path, remaster: Remaster, tmp_path: Path) -> None:
    found = {path.name for path in shared_clips.iterdir() if path.suffix != ".md"}
    assert found >= {*HDR_CLIPS, *LONG_CLIPS}
    assert_clips_are_kept(remaster, shared_clips, sorted(found - {*HDR_CLIPS, *LONG_CLIPS}), tmp_path)


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_every_long_clip_keeps_its_contract(shared_clips: Path, remaster: Remaster, tmp_path: Path) -> None:
    assert_clips_are_kept(remaster, shared_clips, list(LONG_CLIPS), tmp_path)


def assert_clips_are_kept(remaster: Remaster, clips: Path, names: list[str], folder: Path) -> None:
    done = finish_clips(remaster, [clips / name for name in names], folder)
    lost = {name: [row for row in done.rows(name) if row.verdict == "lost"] for name in names}
    assert {name: rows for name, rows in lost.items() if rows} == {}
    for name in names:
        # The same again, past all of the product's own code.
        assert_keeps(clips / name, Path(done.outcomes[name]["master"]), 1)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", HDR_CLIPS)
def test_every_clip_in_hdr_keeps_its_contract(
    name: str, shared_clips: Path, remaster: Remaster, tmp_path: Path
) -> None:
    done = finish_clips(remaster, [shared_clips / name], tmp_path, "h265")  # which says all that there is to say
    assert not [row for row in done.rows(name) if row.verdict == "lost"]
    assert_keeps(shared_clips / name, Path(done.outcomes[name]["master"]), 1)
