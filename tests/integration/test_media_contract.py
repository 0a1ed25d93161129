"""The media contract, end to end: generated and real sources through `remaster run`, each held against its master.

A few of every kind are in the ordinary suite; the evaluation clips are slow, and the whole set has a target of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import pytest

from tasks.media.contract.contract import compare
from tasks.media.contract.rows import Row
from tasks.media.reading.source import Source
from tasks.media.writing.codecs import EncodeSettings
from tasks.profile import built_in_profiles, read_profile
from tests.clips import Clip, make
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
# And where the profile's container has no place for the codec of a sound or subtitle.
CONVERTED = (*LAWFUL, "samples", "words")
# The master of each built-in profile: its ending, codec, that codec's own profile, pixels, and frames between keys.
PROFILES = {
    "archive": (".mkv", "ffv1", None, "yuv420p10le", 1),
    "broadcast": (".mov", "h264", "High 4:2:2", "yuv422p10le", 12),
    "editing": (".mov", "prores", "HQ", "yuv422p10le", 1),
    "web": (".mp4", "av1", "Main", "yuv420p10le", 240),
}


@dataclass(frozen=True)
class Finished:
    """A library and how each of its titles ended."""

    library: Path
    outcomes: dict[str, dict[str, str]]

    def master(self, name: str) -> Path:
        """Of a title, which must be done."""
        outcome = self.outcomes[name]
        assert outcome["state"] == "done", outcome["reason"]
        return Path(outcome["master"])

    def rows(self, name: str, asked: EncodeSettings | None = None) -> tuple[Row, ...]:
        """The contract of a title, and of what was asked for."""
        source, master = self.library / name, self.master(name)
        return compare(Source(str(source), name), Source(str(master), master.name), asked=asked)


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


@pytest.fixture(scope="module")
def by_swift(remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All of the set in one run."""
    folder = tmp_path_factory.mktemp("swift")
    return finish(
        remaster, write(folder / "library", list(TORTURE)), folder / "out", "--model", "swift", *FAST, *PIECES
    )


def finish_clips(remaster: Remaster, clips: list[Path], folder: Path, codec: str = "h264") -> Finished:
    """Scale 1: the contract does not depend on the scale, the time it takes does."""
    (folder / "library").mkdir()
    for clip in clips:
        (folder / "library" / clip.name).symlink_to(clip)
    fast = ("--scale", "1", "--set", f"master.codec={codec}", "--set", "master.preset=ultrafast")
    return finish(remaster, folder / "library", folder / "out", *fast)


def assert_nothing_lost(rows: tuple[Row, ...], lawful: tuple[str, ...] = LAWFUL) -> None:
    assert [row for row in rows if row.verdict == "lost"] == []
    assert [row for row in rows if row.verdict == "changed" and not any(word in row.name for word in lawful)] == []


@pytest.mark.parametrize("name", DOZEN)
def test_a_master_keeps_all_that_its_source_carries(name: str, some: Finished) -> None:
    assert_nothing_lost(some.rows(name))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("profile", built_in_profiles())
def test_a_master_of_a_built_in_profile_is_what_it_says_and_keeps_its_source(
    profile: str, remaster: Remaster, tmp_path: Path
) -> None:
    titles = {"film.mkv": Clip(frames=30, audio="flac", subtitle=True, chapters=True),
              "other film.mp4": Clip(frames=30, cuts=(15,), subtitle=True, chapters=True)}  # fmt: skip
    for name, clip in titles.items():
        make(tmp_path / "library" / name, clip)
    done = finish(remaster, tmp_path / "library", tmp_path / "out", "--profile", profile, "--scale", "2")
    ending, codec, of_codec, pix_fmt, between = PROFILES[profile]
    for name, clip in titles.items():
        assert_nothing_lost(done.rows(name, read_profile(profile, {}).master.encoding()), CONVERTED)
        assert done.master(name).suffix == ending
        with av.open(str(done.master(name))) as master:
            picture = master.streams.video[0]
            seen = (picture.codec_context.codec.canonical_name, picture.profile, picture.pix_fmt)
            assert seen == (codec, of_codec, pix_fmt)
            packets = sorted((packet.pts, packet.is_keyframe) for packet in master.demux(picture) if packet.size)
            assert [n for n, (_, key) in enumerate(packets) if key] == list(range(0, clip.frames, between))


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
@pytest.mark.parametrize("name", TORTURE)
def test_a_network_keeps_the_whole_set_too(name: str, by_swift: Finished) -> None:
    assert_nothing_lost(by_swift.rows(name))


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
        assert_keeps(clips / name, done.master(name), 1)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", HDR_CLIPS)
def test_every_clip_in_hdr_keeps_its_contract(
    name: str, shared_clips: Path, remaster: Remaster, tmp_path: Path
) -> None:
    done = finish_clips(remaster, [shared_clips / name], tmp_path, "h265")  # which says all that there is to say
    assert not [row for row in done.rows(name) if row.verdict == "lost"]
    assert_keeps(shared_clips / name, done.master(name), 1)
