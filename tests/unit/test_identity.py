"""What a network that changes nothing leaves of a picture: every matrix, range, depth and sampling of chroma."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tasks.media.picture.colour import Colour, Siting, to_planes, to_rgb
from tasks.media.picture.pixels import Layout, Planes, to_frame
from tasks.media.picture.pixels import to_planes as planes_of
from tests.mastered import masters_of

# H.273 number, Kr and Kb: ITU-R BT.601-7, BT.709-6, BT.2020-2.
MATRICES = {"601": (6, 0.299, 0.114), "709": (1, 0.2126, 0.0722), "2020": (9, 0.2627, 0.0593)}
SAMPLINGS = {"420": (1, 1), "422": (1, 0), "444": (0, 0)}
RANGES, DEPTHS = ("limited", "full"), (8, 10)
SITINGS: tuple[Siting, ...] = ("left", "centre", "topleft", "top")
HEIGHT, WIDTH = 64, 96
MEAN_SHIFT = 0.1  # codes of the picture's own depth
each_matrix = pytest.mark.parametrize("matrix", MATRICES)
each_range = pytest.mark.parametrize("swing", RANGES)
each_depth = pytest.mark.parametrize("depth", DEPTHS)
each_sampling = pytest.mark.parametrize("sampling", SAMPLINGS)


def natural(matrix: str, swing: str, layout: Layout, seed: int) -> Planes:
    """Slow waves of each primary, within 0.05 and 0.95, at random phases, as Y'CbCr by the definitions."""
    random = np.random.default_rng(seed)
    slopes, phases = random.uniform(-9, 9, (3, 5, 2)), random.uniform(0, 2 * np.pi, (3, 5))
    _, kr, kb = MATRICES[matrix]
    planes = []
    for number, shape in enumerate(layout.plane_shapes(HEIGHT, WIDTH)):
        y, x = (np.mgrid[: shape[0], : shape[1]] + 0.5) / np.array(shape).reshape(2, 1, 1)
        red, green, blue = (
            0.5 + 0.09 * sum(np.sin(down * y + across * x + phase) for (down, across), phase in zip(*wave, strict=True))
            for wave in zip(slopes, phases, strict=True)
        )
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        value = (luma, (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr))[number]
        step, top = 1 << (layout.depth - 8), (1 << layout.depth) - 1
        gain, black = (top, 0) if swing == "full" else ((224 if number else 219) * step, 16 * step)
        planes.append((gain * value + (128 * step if number else black)).round().astype(layout.dtype))
    return tuple(planes)


def assert_comes_back(held: Planes, wanted: Planes, layout: Layout) -> None:
    """Luma, and chroma of full resolution, exactly; other chroma to within one code of eight bits."""
    for number, (one, other) in enumerate(zip(held, wanted, strict=True)):
        assert other.std() > 8 << (layout.depth - 8), "the picture says nothing: it is flat"
        apart = one.astype(int) - other
        exactly = number == 0 or (layout.chroma_x, layout.chroma_y) == (0, 0)
        assert np.abs(apart).max() <= (0 if exactly else 1 << (layout.depth - 8))
        assert abs(apart.mean()) <= MEAN_SHIFT


@each_sampling
@each_depth
@each_range
@each_matrix
def test_a_natural_picture_comes_back_from_a_network_that_changes_nothing(
    matrix: str, swing: str, depth: int, sampling: str
) -> None:
    layout = Layout("yuv", depth, *SAMPLINGS[sampling])
    for seed, siting in enumerate(SITINGS):
        colour = Colour(MATRICES[matrix][0], 1, 1, swing == "full", siting)
        planes = natural(matrix, swing, layout, seed)
        rgb_T3HW = to_rgb([planes], layout, colour, torch.device("cpu"))
        assert_comes_back(to_planes(rgb_T3HW, layout, colour, seed)[0], planes, layout)


@each_depth
def test_a_lossless_file_comes_back_from_a_whole_title_at_its_own_size(depth: int, tmp_path: Path) -> None:
    """Scanned, planned, decoded, converted, written in segments, encoded, and decoded again."""
    wanted: dict[str, tuple[Layout, list[Planes]]] = {}
    (tmp_path / "films").mkdir()
    for matrix, swing, sampling in product(MATRICES, RANGES, SAMPLINGS):
        layout = Layout("yuv", depth, *SAMPLINGS[sampling])
        pictures = [natural(matrix, swing, layout, seed) for seed in range(2)]
        name = f"{matrix} {swing} {sampling}.mkv"
        wanted[name] = layout, pictures
        write(tmp_path / "films" / name, pictures, layout, (MATRICES[matrix][0], 1, 1, 2 if swing == "full" else 1))
    settings = {"model": "lanczos", "scale": 1, "master.codec": "ffv1", "master.bit_depth": depth}
    masters_of(tmp_path / "films", tmp_path, settings)
    for name, (layout, pictures) in wanted.items():
        with av.open(str(tmp_path / "masters" / name)) as master:
            shown = [planes_of(frame, layout) for frame in master.decode(video=0)]
        for held, picture in zip(shown, pictures, strict=True):
            assert_comes_back(held, picture, layout)


@each_depth
@pytest.mark.parametrize("sampling", ["420", "422"])
@pytest.mark.parametrize(("siting", "share"), [("left", 0.1), ("centre", 0.03)])
def test_a_sharp_edge_in_chroma_keeps_its_mean_and_no_more_is_lost_than_is_said(
    siting: Siting, share: float, sampling: str, depth: int
) -> None:
    """Across, from the lowest to the highest code of limited range; the share is of the step."""
    layout, step = Layout("yuv", depth, *SAMPLINGS[sampling]), 224 << (depth - 8)
    planes = tuple(np.full(shape, 16 << (depth - 8), layout.dtype) for shape in layout.plane_shapes(HEIGHT, WIDTH))
    planes[1][:, WIDTH // 4 :] += step
    colour = Colour(1, 1, 1, False, siting)
    luma, cb, cr = to_planes(to_rgb([planes], layout, colour, torch.device("cpu")), layout, colour, 0)[0]
    apart = cb.astype(int) - planes[1]
    assert 0.02 * step < np.abs(apart).max() <= share * step
    assert abs(apart.mean()) <= MEAN_SHIFT
    np.testing.assert_array_equal(luma, planes[0])
    np.testing.assert_array_equal(cr, planes[2])


def write(path: Path, pictures: list[Planes], layout: Layout, colour: tuple[int, int, int, int]) -> None:
    """A film of FFV1; its colour is matrix, primaries, transfer and range as FFmpeg numbers them."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, layout.pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = colour
        for number, planes in enumerate(pictures):
            frame = to_frame(planes, layout)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
