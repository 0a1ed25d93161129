"""Pixel formats: which layout each is brought to, and that bringing it there changes no value."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tasks.errors import UnsupportedSource
from tasks.media.picture.pixels import Layout, Planes, checksum, layout_of, to_frame, to_planes
from tests.clips import picture

LAYOUTS = {
    # planar
    "yuv420p": Layout("yuv", 8, 1, 1),
    "yuv422p": Layout("yuv", 8, 1, 0),
    "yuv444p": Layout("yuv", 8, 0, 0),
    "yuv411p": Layout("yuv", 8, 2, 0),
    "yuv410p": Layout("yuv", 8, 2, 2),
    "yuv440p": Layout("yuv", 8, 0, 1),
    "yuv420p9le": Layout("yuv", 9, 1, 1),
    "yuv422p10le": Layout("yuv", 10, 1, 0),
    "yuv444p12be": Layout("yuv", 12, 0, 0),
    "yuv420p16le": Layout("yuv", 16, 1, 1),
    # full range by name only
    "yuvj420p": Layout("yuv", 8, 1, 1),
    "yuvj444p": Layout("yuv", 8, 0, 0),
    # semi-planar, as hardware decoders give
    "nv12": Layout("yuv", 8, 1, 1),
    "nv21": Layout("yuv", 8, 1, 1),
    "nv16": Layout("yuv", 8, 1, 0),
    "p010le": Layout("yuv", 10, 1, 1),
    "p012le": Layout("yuv", 12, 1, 1),
    "p210le": Layout("yuv", 10, 1, 0),
    "p416le": Layout("yuv", 16, 0, 0),
    # packed
    "yuyv422": Layout("yuv", 8, 1, 0),
    "uyvy422": Layout("yuv", 8, 1, 0),
    "y210le": Layout("yuv", 10, 1, 0),
    "xv30le": Layout("yuv", 10, 0, 0),
    # gray
    "gray": Layout("gray", 8),
    "gray10le": Layout("gray", 10),
    "gray16be": Layout("gray", 16),
    # RGB
    "gbrp": Layout("rgb", 8),
    "gbrp9le": Layout("rgb", 9),
    "gbrp12be": Layout("rgb", 12),
    "rgb24": Layout("rgb", 8),
    "bgr0": Layout("rgb", 8),
    "rgb48le": Layout("rgb", 16),
    "x2rgb10le": Layout("rgb", 10),
    # fewer than eight bits, and palettes
    "rgb555le": Layout("rgb", 8),
    "rgb565le": Layout("rgb", 8),
    "pal8": Layout("rgb", 8),
    "monob": Layout("rgb", 8),
    "monow": Layout("rgb", 8),
}
PLANAR = [
    "yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuv420p9le", "yuv422p10le", "yuv444p12le",
    "yuv440p10le", "yuv420p14le", "yuv420p16le", "yuv444p16le", "gray", "gray9le", "gray10le", "gray16le", "gbrp",
    "gbrp9le", "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le", "yuva420p", "yuva422p12le", "yuva444p16le", "gbrap",
    "gbrap10le", "gbrap16le",
]  # fmt: skip
# What FFmpeg converts to and from without loss, so that a round trip proves both directions.
TWINS = [
    "nv12", "nv21", "nv16", "nv24", "p010be", "p012le", "p210le", "p416le", "yuyv422", "uyvy422", "y210le", "xv30le",
    "rgb24", "bgr24", "bgr0", "0rgb", "rgb48le", "rgb48be", "x2rgb10le", "gray10be", "gray16be", "yuv420p10be",
    "gbrp12be", "rgba", "bgra", "argb", "abgr", "rgba64le", "rgba64be", "bgra64le", "vuya", "ayuv64le", "yuva420p10be",
]  # fmt: skip
SIZES = [(48, 64), (1, 1), (1, 5), (3, 1), (23, 37), (17, 16), (2, 9)]


def noise(layout: Layout, height: int, width: int, seed: int = 0) -> Planes:
    """Planes that use every bit of every sample."""
    generator = np.random.default_rng(seed)
    shapes = layout.plane_shapes(height, width)
    return tuple(generator.integers(0, 1 << layout.depth, shape, dtype=layout.dtype) for shape in shapes)


def assert_same(held: Planes, wanted: Planes) -> None:
    assert len(held) == len(wanted)
    for one, other in zip(held, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def fill(name: str, width: int, height: int, rows: np.ndarray, plane: int = 0) -> av.VideoFrame:
    """A frame of a packed format from the bytes of its rows."""
    frame = av.VideoFrame(width, height, name)
    memory = np.frombuffer(frame.planes[plane], np.uint8)
    line = frame.planes[plane].line_size
    raw = rows.reshape(height, -1).view(np.uint8)
    memory[: height * line].reshape(height, line)[:, : raw.shape[1]] = raw
    return frame


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_format_has_its_planar_layout(name: str) -> None:
    layout = layout_of(name, "clip.mkv")
    assert layout == LAYOUTS[name]
    # The layout's own format is one FFmpeg knows, of the same depth and subsampling.
    assert layout_of(layout.pix_fmt, "clip.mkv") == layout


@pytest.mark.parametrize(("name", "kind"), [("ya8", "u1"), ("ya16le", "<u2"), ("ya16be", ">u2")])
def test_gray_beside_alpha_is_rgb_of_three_like_planes(name: str, kind: str) -> None:
    pairs = np.random.default_rng(1).integers(0, 1 << 8 * np.dtype(kind).itemsize, (6, 5, 2)).astype(kind)
    frame = av.VideoFrame(5, 6, name)
    memory = np.frombuffer(frame.planes[0], kind).reshape(6, -1)
    memory[:, :10] = pairs.reshape(6, 10)
    planes = to_planes(frame, layout_of(name, "clip.mov"))
    for plane, wanted in zip(planes, (pairs[..., 0],) * 3 + (pairs[..., 1],), strict=True):
        np.testing.assert_array_equal(plane, wanted)
        assert plane.dtype == layout_of(name, "clip.mov").dtype


@pytest.mark.parametrize(
    "name",
    [
        "xyz12le",
        "yaf16le",
        "rgbaf16le",
        "bayer_rggb8",
        "bayer_grbg16le",
        "grayf32le",
        "gray32le",
        "rgb96le",
        "cuda",
        "vaapi",
    ],
)
def test_formats_without_codes_of_at_most_16_bits_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedSource, match=rf"clip\.mov: pixel format {name} is not handled; convert it"):
        layout_of(name, "clip.mov")


@pytest.mark.parametrize("name", PLANAR)
def test_planes_to_a_frame_and_back_lose_no_bit_at_any_size(name: str) -> None:
    layout = layout_of(name, "clip")
    assert layout.pix_fmt == name
    for height, width in SIZES:
        planes = noise(layout, height, width)
        frame = to_frame(planes, layout)
        assert (frame.height, frame.width, frame.format.name) == (height, width, name)
        assert_same(to_planes(frame, layout), planes)


@pytest.mark.parametrize("name", TWINS)
def test_packed_and_vendor_formats_lose_no_bit_at_any_size(name: str) -> None:
    layout = layout_of(name, "clip")
    for height, width in SIZES:
        planes = noise(layout, height, width)
        vendor = to_frame(planes, layout).reformat(format=name, threads=1)
        assert vendor.format.name == name
        assert_same(to_planes(vendor, layout), planes)


@pytest.mark.parametrize("name", ["yuvj420p", "yuvj422p", "yuvj444p", "yuvj411p", "yuvj440p"])
def test_full_range_by_name_keeps_its_codes(name: str) -> None:
    """FFmpeg's own conversion would squeeze them into the limited range."""
    layout = layout_of(name, "clip")
    planes = noise(layout, 22, 36)
    frame = av.VideoFrame(36, 22, name)
    for target, codes in zip(frame.planes, planes, strict=True):
        np.frombuffer(target, np.uint8).reshape(-1, target.line_size)[: codes.shape[0], : codes.shape[1]] = codes
    assert_same(to_planes(frame, layout), planes)


@pytest.mark.parametrize(("height", "width"), [(32, 64), (23, 37)])
@pytest.mark.parametrize(("name", "shift"), [("p010le", 6), ("p012le", 4), ("p016le", 0)])
def test_samples_in_the_upper_bits_become_plain_codes(name: str, shift: int, height: int, width: int) -> None:
    layout = layout_of(name, "clip")
    y, u, v = noise(layout, height, width)
    frame = av.VideoFrame(width, height, name)
    interleaved = np.stack([u, v], -1).reshape(u.shape[0], -1)
    for target, codes in zip(frame.planes, (y, interleaved), strict=True):
        memory = np.frombuffer(target, np.uint16).reshape(-1, target.line_size // 2)
        memory[: codes.shape[0], : codes.shape[1]] = codes << shift
    assert_same(to_planes(frame, layout), (y, u, v))


def test_a_palette_becomes_its_colours() -> None:
    palette = np.random.default_rng(2).integers(0, 256, (256, 4), dtype=np.uint8)  # blue, green, red, unused
    palette[:, 3] = 255
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = fill("pal8", 16, 16, indices)
    np.frombuffer(frame.planes[1], np.uint8)[:1024] = palette.reshape(-1)
    planes = to_planes(frame, layout_of("pal8", "clip"))
    assert_same(planes, tuple(palette[indices, channel] for channel in (2, 1, 0)))


@pytest.mark.parametrize("name", ["rgb24", "bgr24"])
def test_red_is_the_first_plane_of_rgb(name: str) -> None:
    pixels = picture(3, 20, 10)
    stored = pixels if name == "rgb24" else np.ascontiguousarray(pixels[..., ::-1])
    planes = to_planes(fill(name, 20, 10, stored), layout_of(name, "clip"))
    assert_same(planes, tuple(pixels[..., channel] for channel in range(3)))


@pytest.mark.parametrize(("name", "bits"), [("rgb555le", (5, 5, 5)), ("rgb565le", (5, 6, 5))])
def test_high_colour_stretches_to_full_black_and_white(name: str, bits: tuple[int, int, int]) -> None:
    codes = np.arange(1 << sum(bits), dtype=np.uint16).reshape(-1, 256)
    planes = to_planes(fill(name, codes.shape[1], codes.shape[0], codes), layout_of(name, "clip"))
    shift = sum(bits)
    for plane, width in zip(planes, bits, strict=True):
        shift -= width
        component = ((codes >> shift) & ((1 << width) - 1)).astype(np.int64)
        # The upper bits repeated below: 0 stays 0, the highest code becomes 255, the steps are even.
        np.testing.assert_array_equal(plane, (component << (8 - width)) | (component >> (2 * width - 8)))


@pytest.mark.parametrize(("name", "one"), [("monob", 255), ("monow", 0)])
def test_single_bits_become_black_and_white(name: str, one: int) -> None:
    packed = np.random.default_rng(4).integers(0, 256, (8, 4), dtype=np.uint8)
    wanted = np.where(np.unpackbits(packed, axis=1) == 1, one, 255 - one).astype(np.uint8)
    for plane in to_planes(fill(name, 32, 8, packed), layout_of(name, "clip")):
        np.testing.assert_array_equal(plane, wanted)


def test_planes_outlive_the_frame_they_came_from() -> None:
    layout = layout_of("gray", "clip")
    frame = to_frame(noise(layout, 16, 16), layout)
    planes = to_planes(frame, layout)
    before = planes[0].copy()
    np.frombuffer(frame.planes[0], np.uint8)[:] = 0
    np.testing.assert_array_equal(planes[0], before)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (9, 16)])
def test_neighbouring_frames_have_different_checksums(height: int, width: int) -> None:
    layout = Layout("rgb", 8)
    sums = set()
    for number in range(100):
        pixels = picture(number, width, height)
        sums.add(checksum(tuple(np.ascontiguousarray(pixels[..., c]) for c in range(3))))
    assert len(sums) == 100
    assert checksum(noise(layout, height, width, 1)) == checksum(noise(layout, height, width, 1))


def test_a_checksum_does_not_depend_on_how_the_picture_lies_in_memory() -> None:
    plane = noise(Layout("gray", 10), 40, 60)[0]
    padded = np.zeros((40, 64), np.uint16)
    padded[:, :60] = plane
    assert checksum((padded[:, :60],)) == checksum((plane,))
