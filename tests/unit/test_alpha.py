"""Alpha is enlarged as Lanczos has it, and kept; what a master could not keep, or nobody reads, is refused."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch

from tasks.check import check_master
from tasks.errors import UnsupportedSource
from tasks.media.cadence.read import read_window, window
from tasks.media.cadence.recipe import FIRST_OF_TOP, SECOND_OF_TOP
from tasks.media.cadence.weave import pictures
from tasks.media.contract.contract import compare
from tasks.media.contract.rows import Row
from tasks.media.picture.alpha import AlphaPath
from tasks.media.picture.bars import Bars, black_lines
from tasks.media.picture.colour import Colour
from tasks.media.picture.halves import halves, places
from tasks.media.picture.pixels import Layout, Plane, layout_of, to_frame, to_planes
from tasks.media.picture.square import square
from tasks.media.reading.limits import Limits
from tasks.media.reading.probe import probe
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import read_timeline
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.records import Title
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.sources import open_source
from tasks.store import Store
from tests.clips import Clip, make, picture
from tests.mastered import Mastered, remaster
from tests.numbered import light, said
from tests.numbered import write as write_image
from tests.torture import PALETTE, Maker, converted
from tests.unit.test_pixels import noise
from vsr_model.classical import resize

HALF = "format=rgba,colorchannelmixer=aa=0.5"
SEE_THROUGH: dict[str, tuple[Maker, str]] = {
    "palette.mov": (
        converted(
            "-an", "-vf", "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(gt(X,32),255,0)',split[a][b];"
            "[a]palettegen[p];[b][p]paletteuse", "-c:v", "png", "-pix_fmt", "pal8",
        ), "in the palette",
    ),
    "gray.mkv": (
        converted("-an", "-vf", "format=ya8,setparams=range=limited", "-c:v", "ffv1"), "beside gray of limited range",
    ),
}  # fmt: skip


ALPHA_FORMATS = (
    "yuva420p", "yuva422p", "yuva444p", "yuva420p9le", "yuva422p9le", "yuva444p9le", "yuva420p10le", "yuva422p10le",
    "yuva444p10le", "yuva422p12le", "yuva444p12le", "yuva420p16le", "yuva422p16le", "yuva444p16le", "gbrap",
    "gbrap10le", "gbrap12le", "gbrap14le", "gbrap16le",
)  # fmt: skip


def examined(path: Path, write: Maker) -> Title:
    write(path)
    (title,) = scan(str(path), str(path.parent / "out"), read_profile(None, {}))
    return title


@pytest.mark.parametrize("name", SEE_THROUGH)
def test_transparency_is_refused_wherever_it_lies(name: str, tmp_path: Path) -> None:
    write, words = SEE_THROUGH[name]
    assert words in examined(tmp_path / name, write).refused


def test_transparency_that_comes_later_is_found_when_the_title_is_planned(tmp_path: Path) -> None:
    later = HALF.replace("aa=0.5", "aa=0") + ":enable='gt(n,5)',split[a][b];[a]palettegen[p];[b][p]paletteuse"
    title = examined(tmp_path / "later.mov", converted("-an", "-vf", later, "-c:v", "png", "-pix_fmt", "pal8"))
    assert not title.refused
    with pytest.raises(UnsupportedSource, match=r"later\.mov: is transparent \(in the palette\)"):
        plan_title(title, read_profile(None, {}), Store(str(tmp_path / "store")))


def test_a_palette_that_is_opaque_is_a_picture_like_any_other(tmp_path: Path) -> None:
    """Even if there is a transparent colour in it that no pixel has."""
    for number, extra in enumerate(([], ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"])):
        write = converted(*PALETTE, *extra, "-c:v", "png")
        title = examined(tmp_path / f"{number}.mov", write)
        assert not title.refused
        assert title.probe is not None and title.probe.pix_fmt == "pal8"


HEIGHT, WIDTH, FRAMES = 48, 64, 25  # in three shards
# By FFmpeg's names: encoder, pixel format, container; and a master's codec.
KINDS = {
    "FFV1, 4:2:0": ("ffv1", "yuva420p", "mkv", "ffv1"),
    "FFV1, 4:2:2 of 12 bits": ("ffv1", "yuva422p12le", "mkv", "ffv1"),
    "FFV1, 4:4:4 to ProRes": ("ffv1", "yuva444p10le", "mkv", "prores"),
    "FFV1, 4:2:0 to ProRes": ("ffv1", "yuva420p", "mkv", "prores"),
    "FFV1, RGB": ("ffv1", "bgra", "mkv", "ffv1"),
    "FFV1, RGB of 12 bits": ("ffv1", "gbrap12le", "mkv", "ffv1"),
    "FFV1, RGB of 16 bits to PNG": ("ffv1", "gbrap16le", "mkv", "png"),
    "ProRes 4444": ("prores_ks", "yuva444p10le", "mov", "ffv1"),
    "QuickTime Animation": ("qtrle", "argb", "mov", "ffv1"),
    "PNG": ("png", "rgba", "mov", "png"),
    "PNG of 16 bits": ("png", "rgba64be", "mov", "ffv1"),
    "TIFF": ("png", "rgba", "mov", "tiff"),
    "VP9 in WebM": ("libvpx-vp9", "yuva420p", "webm", "ffv1"),
    "VP8 in WebM": ("libvpx", "yuva420p", "webm", "png"),
    "PNG, gray": ("png", "ya8", "mov", "png"),
    "PNG, gray of 16 bits": ("png", "ya16be", "mov", "ffv1"),
}


def matte(number: int, depth: int) -> Plane:
    """What can be seen through: a soft disc that moves, beside a hard edge and noise, from 0 to the highest code."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    soft = np.clip(1.2 - np.hypot(y - 20, x - 16 - number) / 14, 0, 1)
    soft[:, 44:] = np.random.default_rng(number).random((HEIGHT, 20))
    soft[30:, 40:] = 1
    return (soft * ((1 << depth) - 1)).round().astype(np.uint8 if depth == 8 else np.uint16)  # type: ignore[return-value]


def keyed(path: Path, codec: str, pix_fmt: str, alter: int = 0, colour: tuple[int, ...] = (), gop: int = 250) -> Path:
    """A film with a matte; that of frame number `alter`, if there is one, is of another frame."""
    layout = layout_of(pix_fmt, path.name)
    with av.open(f"file:{path}", "w") as output:
        # With frames that nobody sees libvpx codes no alpha in VP8.
        stream = output.add_stream(codec, rate=24, options={"auto-alt-ref": "0"} if codec == "libvpx" else {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        context = stream.codec_context
        context.gop_size = gop
        if colour:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = colour
        for number in range(FRAMES):
            rgb = av.VideoFrame.from_ndarray(picture(number, WIDTH, HEIGHT), format="rgb24")
            colours = to_planes(rgb.reformat(format=layout.pix_fmt), layout)[:3]
            frame = to_frame((*colours, matte(number + 9 * (number == alter > 0), layout.depth)), layout)
            frame = frame.reformat(format=pix_fmt, threads=1)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def alpha_of(uri: str) -> list[np.ndarray]:
    """[H, W] of every frame of a file, or of a run of numbered ones, 0..1."""
    with open_source(uri, uri) as source, av.open(source.place) as container:
        frames = list(container.decode(video=0))
    layout = layout_of(frames[0].format.name, uri)
    assert layout.alpha
    planes = [to_planes(frame, layout)[3] for frame in frames]
    if layout.family == "light":
        return [halves(plane).astype(np.float64) for plane in planes]  # type: ignore[arg-type]
    return [plane / ((1 << layout.depth) - 1) for plane in planes]


def with_its_alpha(film: Path, decoder: str) -> Path:
    """The same film; of WebM a copy of what the decoder makes of it that FFmpeg's program takes if it is told to."""
    if film.suffix != ".webm":
        return film
    copy = film.parent.parent / "copy.mkv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-c:v", decoder, "-i", film, "-c:v", "ffv1", copy]
    subprocess.run(command, check=True)
    return copy


def master_of(folder: Path, codec: str, scale: float) -> Mastered:
    settings = {"master.codec": codec, "scale": scale, "model": "lanczos", "master.preset": None}
    return remaster(folder / "films", str(folder / "masters"), str(folder / "store"), **settings)


@pytest.mark.parametrize("scale", [1, 1.5, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_alpha_is_the_sources_enlarged_by_lanczos(kind: str, scale: float, tmp_path: Path) -> None:
    """To within one code of the source's depth; the same, where nothing is enlarged."""
    encoder, pix_fmt, ending, codec = KINDS[kind]
    (tmp_path / "films").mkdir()
    film = keyed(tmp_path / "films" / f"film.{ending}", encoder, pix_fmt)
    found = master_of(tmp_path, codec, scale)
    assert len(found.records) == 3
    had, has = alpha_of(str(with_its_alpha(film, encoder))), alpha_of(found.master.uri)
    assert len(has) == len(had) == FRAMES
    code = 1 / ((1 << layout_of(pix_fmt, kind).depth) - 1)
    for one, other in zip(had, has, strict=True):
        wanted = resize(
            torch.from_numpy(one)[None, None].float(), round(scale * HEIGHT), round(scale * WIDTH), "lanczos"
        )
        np.testing.assert_allclose(other, wanted[0, 0].clamp(0, 1).numpy(), rtol=0, atol=code)
        if scale == 1:
            np.testing.assert_allclose(other, one, rtol=0, atol=code / 2)
    check = check_master(found.plan, found.profile, found.master, found.records, None)
    assert [(name, seen) for name, ok, seen in check.lines if not ok] == []
    assert [ok for name, ok, _ in check.lines if name == "alpha"] == [True]


@pytest.mark.parametrize("encoder", ["libvpx-vp9", "libvpx"])
def test_shards_of_webm_with_alpha_begin_at_its_key_frames(encoder: str, tmp_path: Path) -> None:
    """Its decoder does not say which frames these are; each range of frames is decoded from the one before it."""
    film = keyed(tmp_path / "film.webm", encoder, "yuva420p", gop=5)
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        keys = sorted(packet.pts for packet in container.demux(stream) if packet.is_keyframe and packet.size)
    assert len(keys) == FRAMES // 5
    source, layout = Source(str(film), film.name), Layout("yuv", 8, 1, 1, alpha=True)
    timeline = read_timeline(source, 0)
    assert timeline.pts[timeline.key].tolist() == keys
    whole = list(read_window(source, 0, layout, window(timeline, 0, FRAMES)))
    part = list(read_window(source, 0, layout, window(timeline, 17, 20)))
    assert window(timeline, 17, 20).seeks[0] == keys[3]
    for one, other in zip(whole[17:20], part, strict=True):
        assert all(np.array_equal(*planes) for planes in zip(one, other, strict=True))


def test_webm_with_alpha_that_claims_to_be_small_is_refused_undecoded(tmp_path: Path) -> None:
    film = keyed(tmp_path / "film.webm", "libvpx-vp9", "yuva420p")
    data = film.read_bytes()
    claim = data.replace(b"\xb0\x81\x40", b"\xb0\x81\x10", 1).replace(b"\xba\x81\x30", b"\xba\x81\x10", 1)
    assert claim != data
    film.write_bytes(claim)
    with pytest.raises(UnsupportedSource, match="more pixels a frame"):
        probe(Source(str(film), film.name), limits=Limits(pixels=1000))


def test_alpha_of_numbered_files_is_kept_in_numbered_files(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    layout, files = Layout("rgb", 8, alpha=True), [f"plate.{number:04d}.png" for number in range(1, 13)]
    for number, name in enumerate(files):
        colours = np.moveaxis(picture(number, WIDTH, HEIGHT), -1, 0)
        frame = to_frame((*colours, matte(number, 8)), layout).reformat(format="rgba", threads=1)
        encoder = av.CodecContext.create("png", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, HEIGHT, "rgba", Fraction(1, 24)
        (packet,) = [*encoder.encode(frame), *encoder.encode(None)]
        (tmp_path / "films" / name).write_bytes(bytes(packet))
    settings = {"master.codec": "png", "master.bit_depth": 8, "scale": 1, "model": "lanczos", "master.preset": None}
    remaster(
        tmp_path / "films", str(tmp_path / "masters"), str(tmp_path / "store"), **{**settings, "sequence.fps": "24"}
    )
    (folder,) = {place.parent for place in (tmp_path / "masters").rglob("*.png")}
    for name in files:
        (had,), (has,) = alpha_of(str(tmp_path / "films" / name)), alpha_of(str(folder / name))
        np.testing.assert_array_equal(had, has)


@pytest.mark.parametrize("scale", [1, 1.5, 2])
@pytest.mark.parametrize(("kind", "most"), [("half", 0.85), ("float", 0.85), ("half", 1000.0)])
def test_alpha_beside_light_is_enlarged_by_lanczos_and_stays_within_what_it_was(
    kind: str, most: float, scale: float, tmp_path: Path
) -> None:
    """Of colours beyond white, and of a matte that does not reach 1: no edge of it becomes more opaque than it is."""
    had = []
    for number in range(FRAMES):
        alpha = (matte(number, 8) / 255 * most).astype(np.float16)
        had.append(alpha)
        pixels = np.dstack([light(number, HEIGHT, WIDTH), alpha]).astype({"half": "f2", "float": "f4"}[kind])
        write_image(tmp_path / "films" / f"plate.{number:04d}.exr", pixels)
    found = master_of(tmp_path, "exr", scale)
    assert len(found.records) == 3
    has = alpha_of(found.master.uri)
    for one, other in zip(had, has, strict=True):
        enlarged = resize(torch.from_numpy(one)[None, None].float(), *other.shape, "lanczos")[0, 0]
        assert other.shape == (round(scale * HEIGHT), round(scale * WIDTH))
        np.testing.assert_allclose(other, enlarged.clamp(0, float(one.max())), rtol=2**-10, atol=most * 2**-20)
        if scale == 1:
            np.testing.assert_array_equal(other, one)
    assert any("32-bit floats" in remark for remark in remarks(found.plan)) == (kind == "float")
    check = check_master(found.plan, found.profile, found.master, found.records, None)
    assert [(name, seen) for name, ok, seen in check.lines if not ok] == []
    assert [ok for name, ok, _ in check.lines if name == "alpha"] == [True]
    (folder,) = {path.parent for path in (tmp_path / "masters").rglob("*.exr")}
    before, after = said(tmp_path / "films" / "plate.0003.exr"), said(folder / "plate.0003.exr")
    assert {name: after.get(name) for name in before} == before


def test_alpha_beside_light_is_enlarged_as_light_when_pixels_are_squared() -> None:
    layout, colour = Layout("light", 16, alpha=True), Colour(0, 1, 8, True)
    alpha = np.tile(np.linspace(0, 1, 32, dtype=np.float16), (16, 1))
    planes = (*(places(light(0, 16, 32)[..., i]) for i in range(3)), places(alpha))
    made = square(planes, layout, colour, (16, 64), Bars(), Bars())
    wanted = resize(torch.from_numpy(alpha)[None, None].float(), 16, 64, "lanczos")[0, 0].clamp(0, 1)
    np.testing.assert_allclose(halves(made[3]), wanted.numpy(), rtol=2**-10, atol=2**-20)  # type: ignore[arg-type]


def test_light_with_alpha_goes_to_exr_alone(tmp_path: Path) -> None:
    for number in range(2):
        pixels = np.dstack([light(number, 16, 16), np.ones((16, 16), np.float16)])
        write_image(tmp_path / "films" / f"plate.{number}.exr", pixels)
    for codec in ("h264", "ffv1"):  # the latter holds alpha, and no light
        settings = read_profile(None, {"master.codec": codec})
        (title,) = scan(str(tmp_path / "films"), str(tmp_path / "out"), settings)
        assert ("master.codec (exr)" in title.refused) == (codec == "h264")
    with pytest.raises(UnsupportedSource, match='"exr"'):
        plan_title(title, settings, Store(str(tmp_path / "store")))


@pytest.mark.parametrize("straight", [1, 0])
def test_tiff_files_go_on_saying_whether_colours_are_multiplied_by_their_alpha(straight: int, tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.dstack([picture(number, WIDTH, HEIGHT), matte(number, 8)])
        spec = oiio.ImageSpec(WIDTH, HEIGHT, 4, "uint8")
        spec.attribute("oiio:UnassociatedAlpha", straight)
        path = tmp_path / "films" / f"plate.{number}.tif"
        path.parent.mkdir(exist_ok=True)
        output = oiio.ImageOutput.create(str(path))
        assert output.open(str(path), spec) and output.write_image(pixels) and output.close()
    settings = {"master.codec": "tiff", "scale": 1, "model": "lanczos", "master.preset": None, "sequence.fps": "24"}
    remaster(tmp_path / "films", str(tmp_path / "masters"), str(tmp_path / "store"), **settings)
    files = sorted((tmp_path / "masters").rglob("*.tif"))
    assert [said(path).get("tiff:UnassociatedAlpha", 0) for path in files] == [straight] * 3


def test_tiff_files_made_of_a_video_have_plain_colours(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    keyed(tmp_path / "films" / "film.mov", "png", "rgba")
    master_of(tmp_path, "tiff", 1)
    files = sorted((tmp_path / "masters").rglob("*.tif"))
    assert {said(path)["tiff:UnassociatedAlpha"] for path in files} == {1}


@pytest.mark.parametrize("name", ALPHA_FORMATS)
def test_fields_of_alpha_become_pictures_as_those_of_colours_do(name: str) -> None:
    """One field is taken as it is, of every plane, and nothing is brighter than the format has it."""
    layout = layout_of(name, name)
    frames = [noise(layout, 48, 64, seed) for seed in range(4)]
    first, second = pictures(iter(frames), 0, layout, ((1, 1, FIRST_OF_TOP), (2, 2, SECOND_OF_TOP)))
    for number in (0, 3):
        np.testing.assert_array_equal(first[number][::2], frames[1][number][::2])
        np.testing.assert_array_equal(second[number][1::2], frames[2][number][1::2])
        assert max(first[number].max(), second[number].max()) < 1 << layout.depth


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "dnxhr", "dpx", "jpeg"])
def test_a_master_without_a_place_for_alpha_is_refused_with_those_that_have_one(codec: str, tmp_path: Path) -> None:
    film = keyed(tmp_path / "film.mkv", "ffv1", "bgra")
    (title,) = scan(str(film), str(tmp_path / "out"), read_profile(None, {"master.codec": codec}))
    assert f"film.mkv: has an alpha channel, for which {codec} masters have no place" in title.refused
    assert "prores, ffv1, png, tiff" in title.refused


def test_the_alpha_of_each_picture_goes_with_it_past_a_network_that_keeps_some_back() -> None:
    source, target = Layout("rgb", 8, alpha=True), Layout("rgb", 10, alpha=True)
    path = AlphaPath(source, target, (2, 2), torch.device("cpu"))
    planes = [tuple(np.full((2, 2), number, np.uint8) for _ in range(4)) for number in range(6)]
    path.remember(planes[:4], 10)
    path.remember(planes[4:], 14)
    # Two are the warm-up's; the others come out later, and by twos.
    assert path.codes(12, 2)[:, 0, 0].tolist() == [round(n * 1023 / 255) for n in (2, 3)]
    assert path.codes(14, 2)[:, 0, 0].tolist() == [round(n * 1023 / 255) for n in (4, 5)]


def test_codes_of_sixteen_bits_are_those_bits() -> None:
    layout = Layout("rgb", 16, alpha=True)
    path = AlphaPath(layout, layout, (1, 5), torch.device("cpu"))
    alpha = np.array([[0, 1, 32767, 32768, 65535]], np.uint16)
    path.remember([(alpha, alpha, alpha, alpha)], 0)
    np.testing.assert_array_equal(path.codes(0, 1)[0].numpy().view(np.uint16), alpha)


def test_black_that_can_be_seen_through_is_no_bar() -> None:
    opaque, layout = Layout("rgb", 8), Layout("rgb", 8, alpha=True)
    planes = tuple(np.full((48, 64), 200, np.uint8) for _ in range(4))
    for plane in planes[:3]:
        plane[:8] = 0
    assert black_lines(planes[:3], opaque, True) == (8, 0, 0, 0)
    assert black_lines(planes, layout, True) == (0, 0, 0, 0)


def test_hdr_with_alpha_keeps_both(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    film = keyed(tmp_path / "films" / "film.mkv", "ffv1", "yuva444p10le", colour=(9, 9, 16, 1))
    found = master_of(tmp_path, "ffv1", 2)
    assert found.plan.hdr is not None and found.plan.colour.transfer == 16
    master = Path(found.master.uri.removeprefix("file://"))
    assert {row_of(film, master, name).verdict for name in ("alpha", "colour transfer", "pixel format")} == {"kept"}


def row_of(source: Path, master: Path, name: str) -> Row:
    rows = compare(Source(str(source), source.name), Source(str(master), master.name))
    return next(row for row in rows if row.name == name)


def test_a_loss_of_alpha_is_seen(tmp_path: Path) -> None:
    film = keyed(tmp_path / "film.mkv", "ffv1", "yuva444p10le")
    assert row_of(film, film, "alpha").verdict == "kept"
    other = keyed(tmp_path / "other.mkv", "ffv1", "yuva444p10le", alter=7)
    row = row_of(film, other, "alpha")
    assert row.verdict == "lost"
    assert row.note.startswith("frame 7 can be seen through otherwise")
    without = make(tmp_path / "without.mkv", replace(Clip(), frames=FRAMES, codec="ffv1", pix_fmt="yuv444p10le"))
    assert row_of(film, without, "alpha").verdict == row_of(film, without, "pixel format").verdict == "lost"
