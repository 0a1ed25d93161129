"""Any scale: one rule says how large a master is, and networks that know whole factors come to exactly that."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import torch

from tasks.media.picture.bars import Bars
from tasks.media.picture.pixels import Layout
from tasks.media.picture.size import Enlargement, Scale, exact_scale
from tests.unit.model_contract import make_clip, run
from tests.unit.noise_field import watch_noise
from vsr_model.classical import KernelName, resize
from vsr_model.contract import ModelInfo, Placement, Stream, Upscaler
from vsr_model.errors import ModelError, UnsupportedScale
from vsr_model.registry import find, load
from vsr_model.sizes import Way, enlarged, factors, makes, stream_to, way_to
from vsr_model.tiling import TiledUpscaler

YUV420, YUV422, YUV444, YUV411 = Layout("yuv", 10, 1, 1), Layout("yuv", 10, 1), Layout("yuv", 10), Layout("yuv", 8, 2)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("side", "scale", "step", "wanted"),
    [
        (480, "9/4", 2, 1080),
        (1080, "4/3", 2, 1440),
        (853, "3/2", 2, 1280),  # 1279.5
        (45, "3/2", 2, 68),  # 67.5
        (45, "3/2", 1, 68),  # as near to 67: the larger one
        (45, "7/5", 2, 64),  # 63: as near to 62
        (45, "7/5", 1, 63),
        (45, "3/2", 4, 68),
        (1, "5/4", 2, 2),
        (1, "5/4", 4, 4),
        (0, "3/2", 2, 0),
    ],
)
def test_a_side_is_the_nearest_whole_number_of_steps(side: int, scale: str, step: int, wanted: int) -> None:
    assert enlarged(side, Fraction(scale), step) == wanted


def test_no_side_is_further_from_its_source_times_the_scale_than_half_a_step() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        side, scale, step = rng.randint(4, 5000), Fraction(rng.randint(100, 400), 100), rng.choice((1, 2, 4))
        assert abs(enlarged(side, scale, step) - side * scale) <= Fraction(step, 2)


@pytest.mark.parametrize("layout", [YUV420, YUV422, YUV444, YUV411], ids=lambda layout: layout.pix_fmt)
def test_a_whole_scale_is_a_product_whatever_the_chroma(layout: Layout) -> None:
    for scale in (1, 2, 3, 4):
        enlargement = Enlargement.of(scale, layout)
        assert enlargement.size(45, 33) == (45 * scale, 33 * scale)
        assert enlargement.bars(Bars(4, 6, 8, 0), 45, 33) == Bars(4 * scale, 6 * scale, 8 * scale, 0)


@pytest.mark.parametrize(
    ("layout", "wanted"), [(YUV420, (68, 50)), (YUV422, (68, 50)), (YUV444, (68, 50)), (YUV411, (68, 48))]
)
def test_other_scales_keep_to_the_chroma_of_the_master(layout: Layout, wanted: tuple[int, int]) -> None:
    assert Enlargement.of("1.5", layout).size(45, 33) == wanted


@pytest.mark.parametrize("layout", [YUV420, YUV422, YUV444, YUV411], ids=lambda layout: layout.pix_fmt)
def test_bars_and_the_picture_between_them_are_the_whole_master(layout: Layout) -> None:
    rng = random.Random(1)
    for _ in range(500):
        scale = exact_scale(f"{rng.randint(101, 399)}/100")
        height, width = rng.randint(30, 300), rng.randint(30, 300)
        inside = Bars(*(2 * rng.randint(0, 4) for _ in range(4)))
        enlargement = Enlargement.of(scale, layout)
        rows, columns = enlargement.size(height, width)
        bars = enlargement.bars(inside, height, width)
        kept, left = bars.within(rows, columns), inside.within(height, width)
        for step, sides in (
            (enlargement.down, (bars.top, bars.bottom, kept[0])),
            (enlargement.across, (bars.left, kept[1])),
        ):
            assert all(side >= 0 and side % step == 0 for side in sides)
        # Either end is half a step away from where it should be, at most.
        for made, of, step in zip(kept, left, (enlargement.down, enlargement.across), strict=True):
            assert abs(made - of * Fraction(scale)) <= step


@pytest.mark.parametrize(
    ("spellings", "wanted"),
    [
        ((2, 2.0, "2", "2.00", "4/2"), 2),
        ((1.5, "1.5", "1.50", "3/2", "6/4"), "1.5"),
        ((1.1, "1.1", "11/10"), "1.1"),
        (("4/3", "8/6"), "4/3"),
        ((2.25, "9/4"), "2.25"),
    ],
)
def test_every_spelling_of_a_scale_is_written_alike(spellings: tuple[object, ...], wanted: Scale) -> None:
    for spelling in spellings:
        assert exact_scale(spelling) == wanted and type(exact_scale(spelling)) is type(wanted)


@pytest.mark.parametrize("wrong", [True, None, "", "two", "-2", -2, "1e2", "1.5.", "3/0", "3/-2", "1/2/3", "nan", [2]])
def test_what_is_no_scale_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="is no scale; write 2"):
        exact_scale(wrong)


@pytest.mark.parametrize(
    ("network", "result", "way"),
    [
        ("lanczos", (60, 50), (60, 50, 1)),
        ("lanczos", (80, 66), (40, 33, 2)),
        ("flashvsr-test", (60, 50), (60, 50, 1)),
        ("flashvsr-test", (120, 99), (40, 33, 3)),
        ("swift", (60, 50), (40, 33, 2)),
        ("swift", (100, 82), (40, 33, 4)),  # 3 is 4 reduced: not once more
        ("swift", (120, 99), (40, 33, 3)),
        ("swift", (81, 67), (40, 33, 2)),  # rounded past 2
    ],
)
def test_the_way_to_a_result(network: str, result: tuple[int, int], way: tuple[int, int, int]) -> None:
    assert way_to(find(network).info, 40, 33, result) == way


def test_the_side_of_a_tile_is_enlarged_with_the_picture_that_it_is_cut_from() -> None:
    assert [Way(60, 50, 1).given(pixels, 40) for pixels in (0, 4, 15, 32)] == [0, 6, 23, 48]
    assert Way(40, 33, 2).given(32, 40) == 32


@pytest.mark.parametrize("result", [(38, 33), (40, 31), (164, 132), (160, 136)])
@pytest.mark.parametrize("network", ["swift", "flashvsr-test"])
def test_what_a_network_cannot_make_is_refused_and_what_it_can_is_named(network: str, result: tuple[int, int]) -> None:
    with pytest.raises(
        UnsupportedScale, match=rf"{network} enlarges by .*1.*to 4, not 33x40 to {result[1]}x{result[0]}"
    ):
        way_to(find(network).info, 40, 33, result)


@pytest.mark.parametrize(
    ("scales", "words", "can", "cannot"),
    [
        ((2, 3, 4), "more than 1, up to 4", ("5/4", 2, "7/2", 4), (1, "1/2", "41/10", 5)),
        ((1, 2), "1 to 2", (1, "3/2", 2), ("21/10", 3)),
        ((4,), "more than 1, up to 4", ("3/2", 2, 4), (1, 5)),
        ((1,), "1", (1,), ("3/2", 2)),
    ],
)
def test_the_factors_of_a_network(
    scales: tuple[int, ...], words: str, can: tuple[Scale, ...], cannot: tuple[Scale, ...]
) -> None:
    info = ModelInfo("network", scales)
    assert factors(info) == words
    assert all(makes(info, Fraction(scale)) for scale in can)
    assert not any(makes(info, Fraction(scale)) for scale in cannot)


@pytest.mark.parametrize("kernel", ["lanczos", "bicubic"])
def test_a_kernel_goes_to_any_size_at_once(kernel: KernelName) -> None:
    upscaler = load(kernel, Placement())
    clip_T3HW = make_clip(upscaler, 3, 40, 33)
    for result in ((60, 50), (41, 34), (159, 131)):
        wanted_T3HW = resize(clip_T3HW, *result, kernel)
        assert torch.equal(run(stream_to(upscaler, 40, 33, result), clip_T3HW), wanted_T3HW)
        tiled = TiledUpscaler(upscaler, 24, 2)
        assert torch.allclose(run(stream_to(tiled, 40, 33, result), clip_T3HW), wanted_T3HW, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("result", "factor"), [((60, 50), 2), ((100, 82), 4)])
@pytest.mark.parametrize("tiled", [False, True])
def test_what_a_network_draws_larger_is_reduced(result: tuple[int, int], factor: int, tiled: bool) -> None:
    network = load("swift", Placement())
    upscaler: Upscaler = TiledUpscaler(network, 24, 2) if tiled else network
    clip_T3HW = make_clip(upscaler, 3, 40, 33)
    wanted_T3HW = resize(run(upscaler.stream(40, 33, factor), clip_T3HW), *result)
    assert torch.equal(run(stream_to(upscaler, 40, 33, result), clip_T3HW), wanted_T3HW)


@pytest.mark.parametrize("name", ["lanczos", "swift", "flashvsr-test"])
@pytest.mark.parametrize(("size", "result"), [((17, 23), (26, 34)), ((1, 9), (2, 14))])
def test_a_stream_to_any_size_keeps_what_streams_promise(
    name: str, size: tuple[int, int], result: tuple[int, int]
) -> None:
    upscaler = load(name, Placement())
    clip_T3HW = make_clip(upscaler, 30, *size)

    def opened(first_frame: int = 8) -> Stream:
        return stream_to(upscaler, *size, result, 5, first_frame)

    whole_T3HW = run(opened(), clip_T3HW)
    assert whole_T3HW.shape == (30, 3, *result)
    for pieces in ([1] * 30, [0, 13, 17]):
        assert torch.equal(run(opened(), clip_T3HW, pieces), whole_T3HW)
    stream = opened()
    with pytest.raises(ValueError, match="expected"):
        stream.push(clip_T3HW[..., :-1])
    made = [stream.push(clip_T3HW)]
    stream.reset()  # type: ignore[attr-defined]
    made += [stream.push(clip_T3HW), stream.finish()]
    again_T3HW = run(opened(38), clip_T3HW)
    assert torch.equal(torch.cat(made), torch.cat([whole_T3HW, again_T3HW]))
    assert stream_to(upscaler, *size, result).finish().shape == (0, 3, *result)


def test_a_whole_factor_is_the_networks_own_stream() -> None:
    for name in ("lanczos", "swift", "flashvsr-test"):
        upscaler = load(name, Placement())
        clip_T3HW = make_clip(upscaler, 3, 17, 23)
        wanted_T3HW = run(upscaler.stream(17, 23, 3, 5), clip_T3HW)
        assert torch.equal(run(stream_to(upscaler, 17, 23, (51, 69), 5), clip_T3HW), wanted_T3HW)


def test_tiles_of_an_enlarged_picture_draw_one_field_of_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one and a half times, where source pixels of a tile's border would be none of the result."""
    seen = watch_noise(monkeypatch, 5, 64, 80)
    upscaler = load("flashvsr-test", Placement())
    stream = stream_to(TiledUpscaler(upscaler, 256, 8), 191, 255, (286, 382), 5)
    assert run(stream, make_clip(upscaler, 3, 191, 255)).shape == (3, 3, 286, 382)
    assert set(seen) == {(0, 0), (0, 16), (16, 0), (16, 16)}


def test_a_tile_that_is_too_small_is_told_in_pixels_of_a_picture_that_is_named() -> None:
    tiled = TiledUpscaler(load("flashvsr-test", Placement()), 144, 24)
    with pytest.raises(ModelError, match=r"use at least 188 px.*; counted in .* enlarged from 300x200 to 450x300$"):
        stream_to(tiled, 200, 300, (300, 450))
    with pytest.raises(ModelError, match=r"use at least 188 px, or a smaller overlap$"):
        stream_to(tiled, 200, 300, (200, 300))


def test_a_picture_that_was_enlarged_before_is_what_the_network_enlarges_itself() -> None:
    """FlashVSR at a whole factor, made to go the way of all others."""
    upscaler = load("flashvsr-test", Placement())
    clip_T3HW = make_clip(upscaler, 9, 40, 33)
    wanted_T3HW = run(upscaler.stream(40, 33, 2, 5), clip_T3HW)
    assert torch.equal(run(upscaler.stream(80, 66, 1, 5), resize(clip_T3HW, 80, 66)), wanted_T3HW)
