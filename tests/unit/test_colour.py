"""Colour: planes to R'G'B' and back, against tables worked out by hand and against the codes that went in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.media.picture.colour import Colour, Siting, colour_of, to_planes, to_rgb
from tasks.media.picture.pixels import Layout, Planes
from vsr_model.classical import lanczos

CPU = torch.device("cpu")
BT709, BT601, BT2020, RGB = 1, 6, 9, 0
YUV8, GRAY8, RGB8 = Layout("yuv", 8), Layout("gray", 8), Layout("rgb", 8)
VIDEO = Colour(BT709, 1, 1, False)

# 75 % colour bars (white, yellow, cyan, green, magenta, red, blue) as R'G'B', and as Y'CbCr codes worked out from the
# definitions: Y' = Kr R' + Kg G' + Kb B', Cb = (B' - Y') / 2(1 - Kb), Cr = (R' - Y') / 2(1 - Kr); limited range
# (219 Y' + 16, 224 C + 128) 2^(n-8), full range (2^n - 1) Y' and (2^n - 1) C + 2^(n-1), rounded to the nearest code.
BARS = 0.75 * np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1]])
# fmt: off
CODES = {
    (BT601, "limited", 8): [(180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198),
                            (65, 100, 212), (35, 212, 114)],
    (BT601, "limited", 10): [(721, 512, 512), (646, 176, 567), (525, 625, 176), (450, 289, 231), (335, 735, 793),
                             (260, 399, 848), (139, 848, 457)],
    (BT601, "full", 8): [(191, 128, 128), (169, 32, 144), (134, 160, 32), (112, 65, 48), (79, 191, 208),
                         (57, 96, 224), (22, 224, 112)],
    (BT601, "full", 10): [(767, 512, 512), (680, 128, 574), (538, 641, 128), (450, 258, 191), (317, 766, 833),
                          (229, 383, 896), (87, 896, 450)],
    (BT709, "limited", 8): [(180, 128, 128), (168, 44, 136), (145, 147, 44), (133, 63, 52), (63, 193, 204),
                            (51, 109, 212), (28, 212, 120)],
    (BT709, "limited", 10): [(721, 512, 512), (674, 176, 543), (581, 589, 176), (534, 253, 207), (251, 771, 817),
                             (204, 435, 848), (111, 848, 481)],
    (BT709, "full", 8): [(191, 128, 128), (177, 32, 137), (151, 150, 32), (137, 54, 41), (54, 202, 215),
                         (41, 106, 224), (14, 224, 119)],
    (BT709, "full", 10): [(767, 512, 512), (712, 128, 547), (604, 600, 128), (549, 216, 164), (219, 808, 860),
                          (163, 424, 896), (55, 896, 477)],
    (BT2020, "limited", 8): [(180, 128, 128), (171, 44, 135), (137, 151, 44), (127, 67, 51), (69, 189, 205),
                             (59, 105, 212), (26, 212, 121)],
    (BT2020, "limited", 10): [(721, 512, 512), (682, 176, 539), (548, 606, 176), (509, 270, 203), (276, 754, 821),
                              (237, 418, 848), (103, 848, 485)],
    (BT2020, "full", 8): [(191, 128, 128), (180, 32, 136), (141, 155, 32), (130, 59, 40), (62, 197, 216),
                          (50, 101, 224), (11, 224, 120)],
    (BT2020, "full", 10): [(767, 512, 512), (722, 128, 543), (566, 619, 128), (520, 236, 159), (247, 788, 865),
                           (202, 405, 896), (45, 896, 481)],
}
# fmt: on
SUBSAMPLED = {"4:2:0": (1, 1), "4:2:2": (1, 0), "4:1:1": (2, 0)}
SITINGS: tuple[Siting, ...] = ("left", "centre", "topleft")
each_bars = pytest.mark.parametrize(("matrix", "range_name", "depth"), CODES)
each_subsampling = pytest.mark.parametrize("subsampling", SUBSAMPLED)
each_siting = pytest.mark.parametrize("siting", SITINGS)
each_depth = pytest.mark.parametrize("depth", [8, 10])


def there_and_back(planes: Planes, layout: Layout, colour: Colour, frame: int = 0) -> Planes:
    return to_planes(to_rgb([planes], layout, colour, CPU), layout, colour, frame)[0]


def flat(layout: Layout, height: int, width: int, codes: tuple[int, ...]) -> Planes:
    shapes = layout.plane_shapes(height, width)
    return tuple(np.full(shape, code, layout.dtype) for shape, code in zip(shapes, codes, strict=True))


def farthest(held: Planes, wanted: Planes) -> list[int]:
    """The largest difference in codes, plane by plane."""
    return [int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max()) for a, b in zip(held, wanted, strict=True)]


@each_bars
def test_colour_bars_become_their_primaries(matrix: int, range_name: str, depth: int) -> None:
    layout, colour = Layout("yuv", depth), Colour(matrix, 1, 1, range_name == "full")
    codes = CODES[matrix, range_name, depth]
    planes = tuple(np.array([[bar[i] for bar in codes]], layout.dtype) for i in range(3))
    rgb_T3HW = to_rgb([planes], layout, colour, CPU)
    assert rgb_T3HW.shape == (1, 3, 1, 7)
    assert rgb_T3HW.dtype == torch.float32
    # Half a code in luma and in chroma is what rounding the bars to codes may have moved a primary by.
    half_a_code = 0.0066 if depth == 8 else 0.00165
    np.testing.assert_allclose(rgb_T3HW[0, :, 0].T.numpy(), BARS, atol=half_a_code)


@each_bars
def test_primaries_become_their_colour_bars(matrix: int, range_name: str, depth: int) -> None:
    layout, colour = Layout("yuv", depth), Colour(matrix, 1, 1, range_name == "full")
    for bar, codes in zip(BARS, CODES[matrix, range_name, depth], strict=True):
        rgb_T3HW = torch.tensor(bar, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 64, 64)
        for plane, code in zip(to_planes(rgb_T3HW, layout, colour, 0)[0], codes, strict=True):
            assert abs(float(plane.mean()) - code) <= 0.52  # dithered: the mean lies half a code from the rounded one
            assert np.abs(plane.astype(int) - code).max() <= 1


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_every_code_comes_back(depth: int, matrix: int, full_range: bool) -> None:
    """Every luma code, with chroma from the whole of its range, super-whites and sub-blacks included."""
    layout, colour = Layout("yuv", depth), Colour(matrix, 1, 1, full_range)
    top = (1 << depth) - 1
    luma = np.arange(top + 1, dtype=layout.dtype).reshape(-1, 256)
    generator = np.random.default_rng(depth)
    cb, cr = generator.integers(0, top + 1, (2, *luma.shape), dtype=layout.dtype)
    cb.flat[:4], cr.flat[:4] = (0, top, 0, top), (0, 0, top, top)
    for frame in range(3):
        assert farthest(there_and_back((luma, cb, cr), layout, colour, frame), (luma, cb, cr)) == [0, 0, 0]


def test_every_pair_of_chroma_codes_comes_back() -> None:
    cb, cr = np.mgrid[0:256, 0:256].astype(np.uint8)
    for level in (16, 90, 235):
        planes = (np.full_like(cb, level), cb, cr)
        assert farthest(there_and_back(planes, YUV8, VIDEO), planes) == [0, 0, 0]


@pytest.mark.parametrize("layout", [Layout("gray", 8), Layout("gray", 10), Layout("gray", 16)], ids=lambda v: v.pix_fmt)
@pytest.mark.parametrize("full_range", [False, True])
def test_gray_comes_back_and_has_no_colour(layout: Layout, full_range: bool) -> None:
    codes = np.arange(1 << layout.depth, dtype=layout.dtype).reshape(-1, 256)
    colour = Colour(BT709, 1, 1, full_range)
    rgb_T3HW = to_rgb([(codes,)], layout, colour, CPU)
    assert torch.equal(rgb_T3HW[:, 0], rgb_T3HW[:, 1])
    assert torch.equal(rgb_T3HW[:, 0], rgb_T3HW[:, 2])
    black, white = (0, codes.max()) if full_range else (16 << (layout.depth - 8), 235 << (layout.depth - 8))
    assert float(rgb_T3HW[0, 0].flatten()[black]) == 0.0
    assert float(rgb_T3HW[0, 0].flatten()[white]) == pytest.approx(1.0, abs=1e-6)
    assert farthest(to_planes(rgb_T3HW, layout, colour, 0)[0], (codes,)) == [0]


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 16])
def test_rgb_comes_back_channel_by_channel(depth: int) -> None:
    layout, colour = Layout("rgb", depth), Colour(RGB, 1, 13, True, "centre")
    codes = np.arange(1 << depth, dtype=layout.dtype).reshape(-1, 256)
    planes = (codes, codes[::-1].copy(), codes[:, ::-1].copy())
    rgb_T3HW = to_rgb([planes], layout, colour, CPU)
    for channel, plane in enumerate(planes):
        np.testing.assert_allclose(rgb_T3HW[0, channel].numpy(), plane / ((1 << depth) - 1), atol=1e-6)
    assert farthest(to_planes(rgb_T3HW, layout, colour, 0)[0], planes) == [0, 0, 0]


@pytest.mark.parametrize("matrix", [BT601, BT709])
def test_sixteen_bit_codes_above_32767_survive(matrix: int) -> None:
    layout = Layout("yuv", 16)
    luma = np.arange(32_000, 65_536, dtype=np.uint16)[: 256 * 131].reshape(131, 256)
    planes = (luma, luma[::-1].copy(), np.full_like(luma, 65_000))
    colour = Colour(matrix, 1, 1, True)
    assert farthest(there_and_back(planes, layout, colour), planes) == [0, 0, 0]


@each_depth
@each_siting
@each_subsampling
def test_flat_fields_with_subsampled_chroma_come_back_exactly(subsampling: str, siting: Siting, depth: int) -> None:
    layout = Layout("yuv", depth, *SUBSAMPLED[subsampling])
    colour = Colour(BT709, 1, 1, False, siting)
    codes = tuple(code << (depth - 8) for code in (90, 61, 203))
    for height, width in ((48, 64), (23, 37), (5, 4), (2, 3), (1, 1)):
        planes = flat(layout, height, width, codes)
        back = there_and_back(planes, layout, colour)
        assert [p.shape for p in back] == list(layout.plane_shapes(height, width))
        assert farthest(back, planes) == [0, 0, 0]


@each_depth
@each_siting
@each_subsampling
@pytest.mark.parametrize("slope", [1, 8])
def test_ramps_with_subsampled_chroma_come_back(subsampling: str, siting: Siting, depth: int, slope: int) -> None:
    """To the very edge: luma to the code, chroma to the nearest one."""
    layout = Layout("yuv", depth, *SUBSAMPLED[subsampling])
    shapes = layout.plane_shapes(40, 56)
    planes = tuple(
        (np.arange(shape[1])[None] * across + np.arange(shape[0])[:, None] * down + (30 << (depth - 8))).astype(
            layout.dtype
        )
        for shape, (across, down) in zip(shapes, ((1, 2), (slope, 0), (0, slope)), strict=True)
    )
    back = there_and_back(planes, layout, Colour(BT709, 1, 1, False, siting))
    luma, cb, cr = farthest(back, planes)
    assert luma == 0
    assert max(cb, cr) <= 1


@each_siting
@each_subsampling
def test_smooth_pictures_keep_their_mean(subsampling: str, siting: Siting) -> None:
    layout = Layout("yuv", 8, *SUBSAMPLED[subsampling])
    for seed in range(3):
        planes = smooth(layout, 64, 96, seed)
        back = there_and_back(planes, layout, Colour(BT601, 1, 1, False, siting), seed)
        assert farthest(back, planes)[0] == 0
        for one, other in zip(back, planes, strict=True):
            assert abs(float(one.mean()) - float(other.mean())) <= 0.1


def smooth(layout: Layout, height: int, width: int, seed: int) -> Planes:
    """Sums of slow waves that use most of the range."""
    generator = np.random.default_rng(seed)
    planes = []
    for shape in layout.plane_shapes(height, width):
        y, x = (np.mgrid[: shape[0], : shape[1]] + 0.5) / np.array(shape).reshape(2, 1, 1)
        waves = sum(np.sin(generator.uniform(1, 9) * x + generator.uniform(1, 9) * y + k) for k in range(5))
        planes.append((128 + 18 * waves).round().astype(layout.dtype))
    return tuple(planes)


@pytest.mark.parametrize(
    ("subsampling", "siting", "across", "down"),
    [
        ("4:2:0", "left", 0.0, 0.5),
        ("4:2:0", "centre", 0.5, 0.5),
        ("4:2:0", "topleft", 0.0, 0.0),
        ("4:2:2", "left", 0.0, 0.0),
        ("4:2:2", "centre", 0.5, 0.0),
        ("4:1:1", "left", 0.0, 0.0),
        ("4:1:1", "centre", 1.5, 0.0),
    ],
)
def test_chroma_lies_where_its_siting_says(subsampling: str, siting: Siting, across: float, down: float) -> None:
    """Chroma sample j of a ramp lies `across` + 2j luma samples from the left (4j for 4:1:1)."""
    chroma_x, chroma_y = SUBSAMPLED[subsampling]
    layout = Layout("yuv", 10, chroma_x, chroma_y)
    colour = Colour(BT709, 1, 1, True, siting)
    rows, columns = layout.plane_shapes(48, 96)[1]
    cb = np.broadcast_to(200 + 8 * np.arange(columns), (rows, columns)).astype(np.uint16)
    cr = np.broadcast_to(200 + 8 * np.arange(rows)[:, None], (rows, columns)).astype(np.uint16)
    rgb_3HW = to_rgb([(np.zeros((48, 96), np.uint16), cb, cr)], layout, colour, CPU)[0]
    inside = (slice(12, -12), slice(16, -16))
    blue, red = rgb_3HW[2][inside].numpy(), rgb_3HW[0][inside].numpy()
    x, y = np.arange(96)[None, 16:-16], np.arange(48)[12:-12, None]
    wanted_cb = 200 + 8 * (x - across) / (1 << chroma_x) - 512
    wanted_cr = 200 + 8 * (y - down) / (1 << chroma_y) - 512
    np.testing.assert_allclose(blue, np.broadcast_to(1.8556 * wanted_cb / 1023, blue.shape), atol=1e-5)
    np.testing.assert_allclose(red, np.broadcast_to(1.5748 * wanted_cr / 1023, red.shape), atol=1e-5)


def edge(row_W: np.ndarray) -> float:
    """Where a step lies, in samples: the centre of gravity of its slope, which no symmetric filter moves."""
    slope = np.diff(row_W.astype(np.float64))
    return float((slope * (np.arange(len(slope)) + 0.5)).sum() / slope.sum())


def test_a_chroma_edge_moves_only_if_its_siting_is_mistaken() -> None:
    layout = Layout("yuv", 8, 1, 1)
    planes = flat(layout, 16, 64, (120, 90, 128))
    planes[1][:, 16:] = 160
    left, centre = (Colour(BT709, 1, 1, False, siting) for siting in ("left", "centre"))
    blue = {colour.siting: to_rgb([planes], layout, colour, CPU) for colour in (left, centre)}
    place = {siting: edge(rgb_T3HW[0, 2, 8].numpy()) for siting, rgb_T3HW in blue.items()}
    assert place["centre"] - place["left"] == pytest.approx(0.5, abs=0.01)
    for colour in (left, centre):
        back = to_planes(blue[colour.siting], layout, colour, 0)[0][1][4]
        assert edge(back) == pytest.approx(edge(planes[1][4]), abs=0.03)
    mistaken = to_planes(blue["left"], layout, centre, 0)[0][1][4]
    assert edge(mistaken) == pytest.approx(edge(planes[1][4]) - 0.25, abs=0.03)


def test_super_whites_and_sub_blacks_survive_the_way_through_a_network() -> None:
    planes = flat(YUV8, 12, 12, (254, 128, 128))
    planes[0][:, :6] = 3
    rgb_T3HW = to_rgb([planes], YUV8, VIDEO, CPU)
    assert rgb_T3HW.max() > 1.08
    assert rgb_T3HW.min() < -0.05
    larger_T3HW = lanczos().stream(12, 12, 3).push(rgb_T3HW)
    luma = to_planes(larger_T3HW, YUV8, VIDEO, 0)[0][0]
    assert (luma[:, -3:] == 254).all()
    assert (luma[:, :3] == 3).all()


def test_values_beyond_the_codes_stop_at_the_last_one() -> None:
    rgb_T3HW = torch.tensor([-4.0, 5.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    for layout in (GRAY8, Layout("gray", 10), Layout("gray", 16)):
        luma = to_planes(rgb_T3HW, layout, VIDEO, 0)[0][0]
        assert luma.tolist() == [[0, (1 << layout.depth) - 1]]


def test_full_range_and_limited_range_are_told_apart() -> None:
    planes = flat(YUV8, 4, 4, (235, 128, 128))
    assert float(to_rgb([planes], YUV8, VIDEO, CPU).mean()) == pytest.approx(1.0, abs=1e-6)
    assert float(to_rgb([planes], YUV8, Colour(BT709, 1, 1, True), CPU).mean()) == pytest.approx(235 / 255, abs=1e-6)


def gray_between(code: float, frames: int = 1, size: int = 96) -> torch.Tensor:
    """Frames whose luma lies at `code`, a whole one or not, in 8-bit limited range."""
    return torch.full((frames, 3, size, size), (code - 16) / 219)


def test_dither_is_unbiased() -> None:
    for ninth in range(10):
        value = 100 + ninth / 9
        planes = to_planes(gray_between(value, 4), GRAY8, VIDEO, 0)
        assert float(np.mean(planes)) == pytest.approx(value, abs=0.02)
        assert set(np.unique(planes)) <= {100, 101}


def test_dither_leaves_no_plateaus_in_a_slow_ramp() -> None:
    """Eight codes over 512 columns: without dither, steps 64 columns wide."""
    values_W = 60 + torch.arange(512) / 64
    ramp_T3HW = ((values_W - 16) / 219).expand(1, 3, 128, 512)
    luma = to_planes(ramp_T3HW, GRAY8, VIDEO, 0)[0][0].astype(np.float64)
    blocks = luma.reshape(128, 32, 16).mean(axis=(0, 2))
    np.testing.assert_allclose(blocks, values_W.view(32, 16).mean(1).numpy(), atol=0.03)


def test_frames_are_dithered_alike_however_they_are_sliced() -> None:
    rgb_T3HW = torch.rand((7, 3, 21, 34), generator=torch.Generator().manual_seed(5))
    layout = Layout("yuv", 10, 1, 1)
    whole = to_planes(rgb_T3HW, layout, VIDEO, 100)
    for cut in range(1, 7):
        sliced = to_planes(rgb_T3HW[:cut], layout, VIDEO, 100) + to_planes(rgb_T3HW[cut:], layout, VIDEO, 100 + cut)
        for one, other in zip(sliced, whole, strict=True):
            assert farthest(one, other) == [0, 0, 0]


def test_dither_differs_between_frames_and_between_planes() -> None:
    frames = [plane.tobytes() for (plane,) in to_planes(gray_between(100.5, 24), GRAY8, VIDEO, 0)]
    assert len(set(frames)) == 24
    half = torch.full((1, 3, 64, 64), 100.5 / 255)
    channels = to_planes(half, RGB8, Colour(RGB, 1, 13, True), 0)[0]
    assert len({plane.tobytes() for plane in channels}) == 3


def test_half_precision_and_strided_frames_are_taken_as_they_come() -> None:
    rgb_T3HW = torch.rand((2, 3, 16, 24), generator=torch.Generator().manual_seed(6)).half()
    wanted = to_planes(rgb_T3HW.float(), YUV8, VIDEO, 0)
    strided_T3HW = rgb_T3HW.contiguous(memory_format=torch.channels_last)
    for frames in (rgb_T3HW, strided_T3HW):
        for one, other in zip(to_planes(frames, YUV8, VIDEO, 0), wanted, strict=True):
            assert farthest(one, other) == [0, 0, 0]


def test_converting_leaves_its_input_alone() -> None:
    planes = smooth(Layout("yuv", 8, 1, 1), 16, 16, 0)
    before = [plane.copy() for plane in planes]
    rgb_T3HW = to_rgb([planes], Layout("yuv", 8, 1, 1), VIDEO, CPU)
    assert farthest(planes, tuple(before)) == [0, 0, 0]
    kept_T3HW = rgb_T3HW.clone()
    to_planes(rgb_T3HW, Layout("yuv", 8, 1, 1), VIDEO, 0)
    assert torch.equal(rgb_T3HW, kept_T3HW)


# Tags as (matrix, primaries, transfer, range), rows -> used as (matrix, primaries, transfer, full range, assumed).
@pytest.mark.parametrize(
    ("tags", "height", "used"),
    [
        pytest.param((2, 2, 2, 0), 480, (6, 6, 6, False, True), id="untagged NTSC"),
        pytest.param((2, 2, 2, 0), 576, (5, 5, 6, False, True), id="untagged PAL"),
        pytest.param((2, 2, 2, 0), 288, (5, 5, 6, False, True), id="untagged half PAL"),
        pytest.param((2, 2, 2, 0), 360, (6, 6, 6, False, True), id="untagged small"),
        pytest.param((2, 2, 2, 0), 578, (1, 1, 1, False, True), id="just above standard definition"),
        pytest.param((2, 2, 2, 0), 1080, (1, 1, 1, False, True), id="untagged HD"),
        pytest.param((2, 2, 2, 2), 1080, (1, 1, 1, True, True), id="full range by tag"),
        pytest.param((1, 1, 1, 1), 480, (1, 1, 1, False, False), id="tagged otherwise than its size suggests"),
        pytest.param((6, 6, 6, 1), 1080, (6, 6, 6, False, False), id="BT.601 in HD"),
        pytest.param((5, 2, 2, 1), 1080, (5, 5, 1, False, True), id="only the matrix is tagged"),
        pytest.param((9, 9, 14, 1), 2160, (9, 9, 14, False, False), id="BT.2020"),
        pytest.param((4, 4, 4, 1), 480, (4, 4, 4, False, False), id="FCC"),
        pytest.param((7, 7, 7, 1), 1035, (7, 7, 7, False, False), id="SMPTE 240M"),
    ],
)
def test_what_is_not_tagged_is_guessed_by_size(
    tags: tuple[int, int, int, int], height: int, used: tuple[int, int, int, bool, bool]
) -> None:
    colour = colour_of(*tags, Layout("yuv", 8, 1, 1), height)
    assert (colour.matrix, colour.primaries, colour.transfer, colour.full_range, colour.assumed) == used
    assert colour.siting == ("topleft" if colour.matrix == BT2020 else "left")


def test_rgb_is_full_range_without_a_matrix_whatever_the_tags_say() -> None:
    assert colour_of(1, 2, 2, 1, RGB8, 480) == Colour(0, 1, 13, True, "centre", True)
    assert colour_of(0, 9, 14, 0, Layout("rgb", 10), 2160) == Colour(0, 9, 14, True, "centre", False)
