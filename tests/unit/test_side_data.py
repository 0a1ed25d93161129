"""What a source says of its whole picture is judged by the run's own check, and what will be lost is said before."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare, side_data
from tasks.media.contract.inventory import watch
from tasks.media.reading.projection import read_projection
from tasks.media.reading.side_data import SideData, first_side_data
from tasks.media.reading.source import Source
from tasks.profile import read_profile
from tasks.records import CheckResult
from tasks.scan import scan
from tests import mastered
from tests.clips import Clip, make, picture
from tests.mastered import Mastered
from tests.numbered import said as numbered_said
from tests.remux import Change, remux
from tests.torture import dolby_vision, framed, mirrored, posed, profiled, spherical, stereo


def in_mp4(path: Path) -> Path:
    """Two eyes side by side, by MP4's word for it."""
    first = stereo(path.with_name("eyes.mkv"))
    remux(first, path, Change(options={"strict": "unofficial"}))
    first.unlink()
    return path


def from_a_camera(path: Path) -> Path:
    """Two eyes side by side, by MP4's older word for it alone: FFmpeg writes Apple's too, and reads back that one."""
    path.write_bytes(in_mp4(path).read_bytes().replace(b"vexu", b"skip"))
    return path


@dataclass(frozen=True)
class Case:
    """A source, what of it is judged, and whether masters hold it."""

    name: str
    write: Callable[[Path], Path]
    row: str
    kept: bool


CASES = [
    Case("spherical.mp4", spherical, "spherical", True),
    Case("spherical.mov", spherical, "spherical", True),
    Case("posed.mp4", posed, "spherical", True),
    Case("from a camera.mp4", from_a_camera, "stereo 3D", True),
    Case("eyes.mp4", in_mp4, "stereo 3D", False),
    Case("eyes.mkv", stereo, "stereo 3D", True),
    Case("profile.mov", profiled, "ICC profile", False),
    Case("framed.mp4", framed, "active format", True),
    Case("mirrored.mp4", mirrored, "rotation", True),
    Case("turned.mkv", lambda path: make(path, Clip(frames=6, rotation=90)), "rotation", True),
]


def ran(case: Case, folder: Path) -> tuple[tuple[str, ...], CheckResult]:
    """The remarks of scanning a library of that source alone, and the check of its master."""
    (folder / "films").mkdir()
    case.write(folder / "films" / case.name)
    done = mastered.remaster(folder / "films", str(folder / "out"), str(folder / "store"))
    return done.plan.title.remarks, check_master(done.plan, done.profile, done.master, done.records, None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_lost_fails_the_check_and_is_said_by_the_scan(case: Case, tmp_path: Path) -> None:
    remarks, check = ran(case, tmp_path)
    verdicts = {name: ok for name, ok, _ in check.lines}
    assert verdicts.pop(case.row) is case.kept
    assert all(verdicts.values()), check.lines
    said = [remark for remark in remarks if f"{case.row} data is not carried" in remark]
    assert len(said) == (not case.kept)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "ffv1", "prores"])
@pytest.mark.parametrize("write", [spherical, posed, from_a_camera])
def test_how_a_picture_is_looked_at_is_said_whatever_the_codec(
    codec: str, write: Callable[[Path], Path], tmp_path: Path
) -> None:
    (tmp_path / "films").mkdir()
    source = write(tmp_path / "films" / "film.mp4")
    settings = {"master.codec": codec, "scale": 2, "master.container": "mkv"}
    (master,) = mastered.masters_of(tmp_path / "films", tmp_path / "out", settings)
    said, kept = (
        first_side_data(Source(str(path), path.name), 0).standing
        for path in (source, tmp_path / "out" / "masters" / master)
    )
    assert {"SPHERICAL", "STEREO3D"} & set(said)
    assert {name: kept.get(name) for name in said} == said


def test_pixels_of_two_eyes_that_are_interleaved_are_no_such_thing_once_enlarged() -> None:
    lines, checkers = (struct.pack("=2i", arrangement, 0) for arrangement in (6, 4))
    assert read_projection({"STEREO3D": lines}) is read_projection({"STEREO3D": checkers}) is None


def test_codecs_without_a_word_for_the_active_format_are_said_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    framed(tmp_path / "films" / "framed.mp4")
    (title,) = scan(str(tmp_path / "films"), str(tmp_path / "out"), read_profile(None, {"master.codec": "ffv1"}))
    assert any("active format data is not carried" in remark for remark in title.remarks)


def test_numbered_files_cannot_be_turned_which_is_said(tmp_path: Path) -> None:
    make(tmp_path / "films" / "turned.mp4", Clip(frames=2, rotation=90))
    (title,) = scan(str(tmp_path / "films"), str(tmp_path / "out"), read_profile(None, {"master.codec": "png"}))
    assert "the picture's rotation data is not carried: png masters are written without" in title.remarks


def colour_profile(space: bytes = b"RGB ", size: int = 100_000) -> bytes:
    """As a display has it by its header, and nonsense otherwise: more than one segment of a JPEG file holds."""
    nonsense = np.random.default_rng(0).bytes(size)
    tag = struct.pack(">I4sII", 1, b"desc", 144, len(nonsense))
    lit = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    rest = b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28) + lit + bytes(48)
    return struct.pack(">I4sI", 144 + len(nonsense), b"none", 4 << 24) + rest + tag + nonsense


def plates(folder: Path, suffix: str, channels: int, icc: bytes) -> Path:
    """Numbered files with a colour profile, two of them."""
    oiio = pytest.importorskip("OpenImageIO")
    spec = oiio.ImageSpec(64, 48, channels, "uint8")
    spec.attribute("ICCProfile", f"uint8[{len(icc)}]", np.frombuffer(icc, np.uint8))
    for number in range(2):
        folder.mkdir(exist_ok=True)
        path = folder / f"plate.{number:04d}{suffix}"
        output = oiio.ImageOutput.create(path.name)
        assert output.open(str(path), spec)
        assert output.write_image(np.ascontiguousarray(picture(number, 64, 48)[..., :channels]))
        assert output.close()
    return folder


@pytest.mark.parametrize("codec", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_colour_profile_goes_from_image_files_to_image_files(suffix: str, codec: str, tmp_path: Path) -> None:
    settings = {"sequence.fps": "24", "master.codec": codec, "scale": 1, "model": "lanczos", "master.preset": None}
    icc = colour_profile(size=20_000 if suffix == ".jpg" else 100_000)  # OpenImageIO writes a second segment wrongly
    films = plates(tmp_path / "films", suffix, 3, icc)
    (title,) = scan(str(films), str(tmp_path / codec), read_profile(None, settings))
    assert not any("ICC profile" in remark for remark in title.remarks)
    assert not any("rotation" in remark for remark in title.remarks), "their orientation is upright"
    done = mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    files = [path for path in sorted((tmp_path / "out").rglob("plate.*")) if path.suffix != ".json"]
    assert len(files) == 2
    for path in files:
        assert first_side_data(Source(str(path), codec), 0).standing["ICC_PROFILE"] == icc
    rows = [ok for name, ok, _ in check(done).lines if name == "ICC profile"]
    assert rows == [True]


def test_a_profile_of_a_film_goes_into_its_images(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    film = profiled(tmp_path / "films" / "film.mov")
    said = first_side_data(Source(str(film), "film"), 0).standing["ICC_PROFILE"]
    files = mastered.masters_of(film.parent, tmp_path, {"master.codec": "png", "scale": 1, "master.preset": None})
    (tmp_path / "one.png").write_bytes(next(data for name, data in files.items() if str(name).endswith(".png")))
    assert first_side_data(Source(str(tmp_path / "one.png"), "one"), 0).standing["ICC_PROFILE"] == said


@pytest.mark.parametrize(
    ("suffix", "channels", "codec", "chroma", "kept"),
    [
        (".png", 1, "png", "source", True),
        (".png", 1, "jpeg", "source", False),
        (".png", 1, "png", "444", False),
        (".tif", 1, "tiff", "source", True),
        (".tif", 1, "tiff", "444", False),
        (".tif", 2, "tiff", "source", False),  # gray and alpha become RGB and alpha
    ],
)
def test_a_profile_of_gray_is_none_of_colours_which_is_said(
    suffix: str, channels: int, codec: str, chroma: str, kept: bool, tmp_path: Path
) -> None:
    settings = {"sequence.fps": "24", "master.codec": codec, "master.chroma": chroma, "scale": 1, "master.preset": None}
    films = plates(tmp_path / "films", suffix, channels, colour_profile(b"GRAY", 2000))
    done = mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    assert any("ICC profile data is not carried" in remark for remark in done.plan.title.remarks) is not kept
    for path in (path for path in (tmp_path / "out").rglob("plate.*") if path.suffix != ".json"):
        assert ("ICC_PROFILE" in first_side_data(Source(str(path), codec), 0).standing) is kept
        assert ("ICCProfile" in numbered_said(path)) is kept


def check(done: Mastered) -> CheckResult:
    return check_master(done.plan, done.profile, done.master, done.records, None)


def test_one_frame_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With B-frames, which leave the decoder late: what a decode of the whole file finds is found with the first."""
    source = Source(str(framed(tmp_path / "framed.mp4")), "framed")
    assert watch(source, 0).side_data == first_side_data(source, 0) != SideData({}, False, False)


def test_a_turned_picture_may_be_placed_otherwise_but_not_turned_otherwise() -> None:
    turned = [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]
    placed = [*turned[:6], 1080 << 16, 0, turned[8]]
    other = [0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30]
    one, same, another = (
        SideData({"DISPLAYMATRIX": b"".join(n.to_bytes(4, "little", signed=True) for n in matrix)}, False, False)
        for matrix in (turned, placed, other)
    )
    assert [row.verdict for row in side_data(one, one)] == ["kept"]
    assert [row.verdict for row in side_data(one, same)] == ["changed"]
    assert [row.verdict for row in side_data(one, another)] == ["lost"]


def test_metadata_of_light_is_judged_too() -> None:
    """HDR10+ is of single frames, and so is no standing data; what is standing is lost if it is gone."""
    had = SideData({"MASTERING_DISPLAY_METADATA": b"1", "CONTENT_LIGHT_LEVEL": b"2"}, False, True)
    rows = {row.name: row.verdict for row in side_data(had, SideData({"CONTENT_LIGHT_LEVEL": b"2"}, False, False))}
    assert rows == {"mastering display": "lost", "content light level": "kept", "HDR10+": "lost"}


HEVC = Clip(frames=6, codec="libx265", width=96, height=64)


@pytest.mark.parametrize(("profile", "compatible", "base"), [(9, 2, Clip(frames=6)), (8, 2, HEVC)], ids=["9", "8"])
def test_dolby_vision_is_dropped_and_said_whatever_the_decoder_sees(
    profile: int, compatible: int, base: Clip, tmp_path: Path
) -> None:
    case = Case("film.mp4", dolby_vision(profile, compatible, base), "Dolby Vision", True)
    said, check = ran(case, tmp_path)
    (remark,) = [remark for remark in said if "Dolby Vision" in remark]
    assert f"(profile {profile}) is dropped" in remark
    assert check.passed, check.lines
    assert [seen.split(";")[0] for name, _, seen in check.lines if name == "Dolby Vision"] == ["-, source present"]
    source = Source(str(tmp_path / "films" / "film.mp4"), "film")
    rows = {row.name: row.verdict for row in compare(source, Source(str(tmp_path / "out" / "film.mp4"), "master"))}
    assert rows["Dolby Vision"] == "changed"
    assert {row.name: row.verdict for row in compare(source, source)}["Dolby Vision"] == "lost", "as if it still fitted"


@pytest.mark.parametrize(("profile", "compatible", "refused"), [(5, 0, True), (10, 0, True), (10, 4, False)])
def test_a_picture_that_is_none_without_dolby_vision_is_refused(
    profile: int, compatible: int, refused: bool, tmp_path: Path
) -> None:
    path = dolby_vision(profile, compatible, HEVC)(tmp_path / "film.mp4")
    (title,) = scan(str(path), str(tmp_path / "out"), read_profile(None, {}))
    assert (f"is Dolby Vision profile {profile}, whose picture is none without" in title.refused) is refused
