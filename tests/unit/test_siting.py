"""Chroma stays where its siting says that it is: read from the source, used, and said by the master."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.contract.inventory import take_inventory
from tasks.media.contract.rows import Row
from tasks.media.picture.colour import Colour, Siting, to_rgb
from tasks.media.picture.pixels import Layout, to_frame, to_planes
from tasks.media.reading.mastering import Mastering
from tasks.media.reading.probe import probe
from tasks.media.reading.source import Source
from tasks.media.writing.codecs import EncodeSettings, master_colour
from tasks.media.writing.encode import add_picture
from tests.clips import Clip, make
from tests.mastered import masters_of, remaster
from tests.unit.test_colour import edge

YUV = Layout("yuv", 8, 1, 1)
# Where the first chroma sample lies, across and down, in luma samples: as libavutil's pixfmt.h draws it.
PLACES: dict[Siting, tuple[float, float]] = {
    "left": (0.0, 0.5), "centre": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0),
}  # fmt: skip
EXACT = {"master.codec": "ffv1", "master.bit_depth": 10, "model": "lanczos"}
PRESETS = {"h264": "ultrafast", "h265": "ultrafast", "av1": "12", "vp9": "8", "ffv1": None}
SAID_IN_MP4: dict[str, tuple[Siting, ...]] = {
    "h264": tuple(PLACES), "h265": tuple(PLACES), "av1": ("left", "topleft"), "vp9": ("left",), "ffv1": ("left",),
}  # fmt: skip
each_siting = pytest.mark.parametrize("siting", PLACES)


def with_an_edge(path: Path, siting: Siting, codec: str = "libx264") -> Path:
    """Blue and red that change sharply in the middle, across and down, beside a luma that does not."""
    with av.open(f"file:{path}", "w") as output:
        options = {"qp": "0"} if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=25, options=options | {"chroma_sample_location": option(siting)})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        for number in range(3):
            luma, cb, cr = (
                np.full(shape, code, np.uint8)
                for shape, code in zip(YUV.plane_shapes(48, 64), (120, 90, 90), strict=True)
            )
            luma[:4, :4] = 100 + 20 * number
            cb[:, 16:] = 160
            cr[12:] = 160
            frame = to_frame((luma, cb, cr), YUV)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def option(siting: Siting) -> str:
    return "center" if siting == "centre" else siting


def source_of(path: Path) -> Source:
    return Source(str(path), path.name)


def edges(path: Path) -> tuple[float, float]:
    """Where the edges in blue and red lie, across and down, by the siting that the file says."""
    found = probe(source_of(path))
    with av.open(f"file:{path}") as container:
        frame = next(container.decode(video=0))
    rgb_3HW = to_rgb([to_planes(frame, found.layout)], found.layout, found.colour, torch.device("cpu"))[0].numpy()
    height, width = rgb_3HW.shape[1:]
    return edge(rgb_3HW[2, height // 4]), edge(rgb_3HW[0, :, width // 4])


def mastered(path: Path, folder: Path, **settings: object) -> Path:
    """The master of the one film in a folder."""
    (folder / "films").mkdir()
    film = path.rename(folder / "films" / path.name)
    masters_of(film.parent, folder, {**EXACT, **settings})
    (made,) = (each for each in (folder / "masters").rglob("*") if each.suffix in {".mkv", ".mp4", ".mov"})
    return made


def row_of(source: Path, master: Path) -> Row:
    return next(row for row in compare(source_of(source), source_of(master)) if row.name == "chroma siting")


@each_siting
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_siting_of_a_source_is_read(siting: Siting, ending: str, tmp_path: Path) -> None:
    path = with_an_edge(tmp_path / f"film.{ending}", siting)
    assert probe(source_of(path)).colour.siting == siting
    assert take_inventory(source_of(path), 0).siting == siting


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "ending", "siting"),
    [
        ("libx264", "yuv420p", "mp4", "left"), ("mpeg2video", "yuv420p", "ts", "left"),
        ("mpeg1video", "yuv420p", "mkv", "centre"), ("mjpeg", "yuvj420p", "avi", "centre"),
        ("ffv1", "yuv420p", "mkv", None), ("cinepak", "rgb24", "mov", None),
    ],
)  # fmt: skip
def test_what_a_source_does_not_say_is_as_its_codec_has_it(
    codec: str, pix_fmt: str, ending: str, siting: Siting | None, tmp_path: Path
) -> None:
    path = make(tmp_path / f"film.{ending}", Clip(24, codec=codec, pix_fmt=pix_fmt, audio="", colour=None, b_frames=0))
    assert take_inventory(source_of(path), 0).siting == siting


@each_siting
@pytest.mark.parametrize("scale", [1, 2])
def test_chroma_does_not_move_where_its_siting_is_honoured(siting: Siting, scale: int, tmp_path: Path) -> None:
    """The edge lies between the 16th and the 17th sample across, and the 12th and the 13th down."""
    path = with_an_edge(tmp_path / "film.mkv", siting)
    across, down = PLACES[siting]
    wanted = 2 * 15.5 + across, 2 * 11.5 + down
    assert edges(path) == pytest.approx(wanted, abs=0.02)
    made = edges(mastered(path, tmp_path, scale=scale))
    # Where a sample of the source is among those of the master: the corners of both pictures are one.
    assert made == pytest.approx([scale * (place + 0.5) - 0.5 for place in wanted], abs=0.05 * scale)


def test_chroma_moves_where_its_siting_is_mistaken(tmp_path: Path) -> None:
    """The same samples, and another word for where they are: half a sample of luma lies between both."""
    places = {}
    for siting in PLACES:
        (tmp_path / siting).mkdir()
        path = with_an_edge(tmp_path / siting / "film.mkv", siting)
        places[siting] = edges(mastered(path, tmp_path / siting, scale=2))
    assert places["centre"][0] - places["left"][0] == pytest.approx(1.0, abs=0.05)
    assert places["left"][1] - places["topleft"][1] == pytest.approx(1.0, abs=0.05)
    assert places["top"][0] - places["topleft"][0] == pytest.approx(1.0, abs=0.05)


@each_siting
@pytest.mark.parametrize("codec", PRESETS)
def test_a_master_says_where_its_chroma_sits(codec: str, siting: Siting, tmp_path: Path) -> None:
    """And the run chooses a container in which it can."""
    (tmp_path / "films").mkdir()
    film = with_an_edge(tmp_path / "films" / "film.mp4", siting)
    settings = {"master.codec": codec, "master.preset": PRESETS[codec]}
    found = remaster(film.parent, str(tmp_path / "masters"), str(tmp_path / "store"), **settings)
    made = Path(found.master.uri.removeprefix("file://"))
    assert row_of(film, made).verdict == "kept"
    assert (made.suffix == ".mkv") is (siting not in SAID_IN_MP4[codec])
    said = take_inventory(source_of(made), 0).siting
    assert said == siting or (said, siting) == (None, "left")
    lines = check_master(found.plan, found.profile, found.master, found.records, None).lines
    assert [ok for name, ok, _ in lines if name == "chroma siting"] == [True]


def test_a_container_without_a_word_for_it_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    film = with_an_edge(tmp_path / "films" / "film.mp4", "centre")
    settings = {"master.codec": "ffv1", "master.container": "mp4"}
    found = remaster(film.parent, str(tmp_path / "masters"), str(tmp_path / "store"), **settings)
    assert any("where chroma sits (centre) is not carried" in remark for remark in found.plan.title.remarks)
    check = check_master(found.plan, found.profile, found.master, found.records, None)
    assert ("chroma siting", False, "unsaid, so left, wanted centre") in check.lines


@pytest.mark.parametrize(
    ("codec", "chroma", "had", "has"),
    [
        ("h265", (1, 1), "topleft", "topleft"),
        ("h265_nvenc", (1, 1), "topleft", "left"),  # NVENC says nothing, and H.265 means left by that
        ("prores", (1, 0), "centre", "left"),
        ("prores", (1, 0), "topleft", "topleft"),  # across, the same as left
        ("jpeg", (1, 1), "left", "centre"),
    ],
)
def test_chroma_is_moved_where_a_codec_has_one_place_for_it(
    codec: str, chroma: tuple[int, int], had: Siting, has: Siting
) -> None:
    assert master_colour(Colour(1, 1, 1, False, had), Layout("yuv", 10, *chroma), codec).siting == has


@pytest.mark.parametrize("codec", ["ffv1", "prores"])
def test_a_container_that_says_how_a_picture_was_graded_says_its_siting_too(codec: str, tmp_path: Path) -> None:
    said, layout = Mastering(light=(1000, 400)), Layout("yuv", 10, 1, 0)
    path, second = tmp_path / "film.mkv", Fraction(1, 25)
    with av.open(f"file:{path}", "w") as output:
        settings, colour = EncodeSettings(codec=codec), Colour(9, 9, 16, False, "topleft")  # type: ignore[arg-type]
        stream, encoder = add_picture(output, settings, 64, 64, layout, colour, second, Fraction(25), Fraction(1), said)
        frame = to_frame(tuple(np.full(shape, 500, np.uint16) for shape in layout.plane_shapes(64, 64)), layout)
        frame.pts, frame.time_base = 0, second
        output.start_encoding()
        for packet in [*encoder.encode(frame), *encoder.encode(None)]:
            packet.stream = stream
            output.mux(packet)
    assert take_inventory(source_of(path), 0).siting == "topleft"


def test_a_master_of_another_siting_is_seen(tmp_path: Path) -> None:
    film, other = (with_an_edge(tmp_path / f"{siting}.mp4", siting) for siting in ("topleft", "left"))
    assert row_of(film, film).verdict == "kept"
    row = row_of(film, other)
    assert (row.verdict, row.source, row.master) == ("lost", "topleft", "left")
    assert "shifted" in row.note
