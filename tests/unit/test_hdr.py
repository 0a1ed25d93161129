"""HDR through networks that know SDR: nothing is graded anew, detail arrives, curves are of shots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tasks.media.picture.colour import Colour, to_planes, to_rgb
from tasks.media.picture.hdr import Hdr, as_sdr, brightest_code, seen_rgb, shots_of
from tasks.media.picture.pixels import Layout
from tests.hdr import HLG, PQ, letters, pq_code, rgb
from tests.unit.model_contract import check_contract
from vsr_model.classical import lanczos, resize
from vsr_model.color import WAVELET_LEVELS, blur
from vsr_model.contract import Placement, Upscaler
from vsr_model.hdr import HdrUpscaler, Shot
from vsr_model.nits import levels
from vsr_model.registry import find
from vsr_model.tone import ToneMap

LAYOUT, COLOUR = Layout("yuv", 10, 1, 1), Colour(9, 9, PQ, False, "topleft")
_CODE = 1 / 1023


def film(frames: int, height: int, width: int, transfer: int = PQ, peak: float = 1000.0) -> torch.Tensor:
    return torch.stack(
        [torch.from_numpy(rgb(n, height, width, transfer, peak)).permute(2, 0, 1).float() for n in range(frames)]
    )


@pytest.fixture(scope="module")
def swift() -> Upscaler:
    return find("swift").load(Placement("cpu", "float32"))


def run(upscaler: Upscaler, frames_T3HW: torch.Tensor, scale: int) -> torch.Tensor:
    stream = upscaler.stream(*frames_T3HW.shape[-2:], scale)
    with torch.inference_mode():
        return torch.cat([stream.push(frames_T3HW), stream.finish()])


@pytest.mark.parametrize("name", ["swift", "lanczos"])
def test_it_keeps_the_contract_of_the_network_within(name: str) -> None:
    network = find(name).load(Placement("cpu", "float32"))
    shots = (Shot(0, 1000.0), Shot(4, 300.0))
    with torch.inference_mode():
        check_contract(HdrUpscaler(network, PQ, shots), 2, sizes=((1, 9), (7, 1), (17, 23)), slicings=2)


@pytest.mark.parametrize(("transfer", "peak"), [(PQ, 100.0), (PQ, 1000.0), (PQ, 4000.0), (HLG, 100.0), (HLG, 1000.0)])
def test_low_frequencies_and_peaks_stay_where_they_were_graded(swift: Upscaler, transfer: int, peak: float) -> None:
    source_T3HW = film(4, 72, 96, transfer, peak)
    made_T3HW = run(HdrUpscaler(swift, transfer, (Shot(0, peak),)), source_T3HW, 2)
    low_T3HW = blur(resize(made_T3HW, 72, 96, "bicubic") - source_T3HW, WAVELET_LEVELS)
    assert float(low_T3HW.abs().max()) < _CODE
    had, has = levels(source_T3HW, transfer), levels(made_T3HW, transfer)
    assert (has[:, 0] <= 1.02 * had[:, 0]).all()
    assert has[:, 1].tolist() == pytest.approx(had[:, 1].tolist(), rel=0.02)


def test_the_detail_that_a_network_makes_reaches_the_hdr_picture(swift: Upscaler) -> None:
    pictures = [torch.from_numpy(letters(n, 96, 128)) for n in range(6)]
    truth_T3HW = torch.stack(pictures).permute(0, 3, 1, 2).float()
    source_T3HW = resize(truth_T3HW, 48, 64, "bicubic").clamp(0, 1)
    made_T3HW = run(HdrUpscaler(swift, PQ, (Shot(0, 1000.0),)), source_T3HW, 2)
    plain_T3HW = run(lanczos(), source_T3HW, 2)
    assert F.mse_loss(made_T3HW, truth_T3HW) < 0.25 * F.mse_loss(plain_T3HW, truth_T3HW)


def test_a_network_that_only_interpolates_changes_nothing_by_way_of_a_proxy() -> None:
    class Bounded:
        """Lanczos that is said not to carry light."""

        def __init__(self) -> None:
            self._inner = lanczos()
            self.device = self._inner.device
            self.info = find("swift").info
            self.stream = self._inner.stream

    source_T3HW = film(3, 40, 56)
    by_proxy_T3HW = run(HdrUpscaler(Bounded(), PQ, (Shot(0, 1000.0),)), source_T3HW, 2)  # type: ignore[arg-type]
    direct_T3HW = run(HdrUpscaler(lanczos(), PQ, (Shot(0, 1000.0),)), source_T3HW, 2)
    # What is cut off at the peaks goes to their surroundings, and that is all.
    assert (by_proxy_T3HW - direct_T3HW).abs().flatten().quantile(0.99) < _CODE


def test_each_shot_has_the_curve_of_its_own_peak(swift: Upscaler) -> None:
    source_T3HW = film(6, 24, 32)
    one, other = Shot(0, 1000.0), Shot(3, 150.0)
    both = HdrUpscaler(swift, PQ, (one, other)).stream(24, 32, 2)
    with torch.inference_mode():
        head = both.push(source_T3HW[:3])
        both.reset()
        tail = both.push(source_T3HW[3:])
    assert torch.equal(head, run(HdrUpscaler(swift, PQ, (one,)), source_T3HW[:3], 2))
    assert torch.equal(tail, run(HdrUpscaler(swift, PQ, (Shot(0, 150.0),)), source_T3HW[3:], 2))


def test_the_brightest_code_is_that_of_the_picture() -> None:
    for peak in (50.0, 1000.0, 4000.0):
        picture_T3HW = film(1, 48, 64, PQ, peak)
        planes = to_planes(picture_T3HW, LAYOUT, COLOUR, 0)[0]
        wanted = float(to_rgb([planes], LAYOUT, COLOUR, torch.device("cpu")).max())
        assert brightest_code(planes, LAYOUT, COLOUR) == pytest.approx(wanted, abs=0.02)
        assert brightest_code(planes, LAYOUT, COLOUR) >= float(picture_T3HW.max()) - 0.01


def test_odd_pictures_and_other_layouts_have_a_brightest_code_too() -> None:
    for layout in (Layout("yuv", 10, 1, 0), Layout("yuv", 12, 0, 0), Layout("rgb", 10), Layout("gray", 10)):
        colour = Colour(0 if layout.family == "rgb" else 9, 9, PQ, layout.family == "rgb", "topleft")
        picture_T3HW = film(1, 33, 47)
        planes = to_planes(picture_T3HW, layout, colour, 0)[0]
        wanted = float(to_rgb([planes], layout, colour, torch.device("cpu")).max())
        assert brightest_code(planes, layout, colour) == pytest.approx(wanted, abs=0.03)


def test_a_shot_is_as_bright_as_its_brightest_frame_and_shards_know_theirs() -> None:
    peaks = pq_code(np.array([100, 400, 200, 50, 60, 1000, 900.0])).astype(np.float32)
    shots = shots_of(peaks, (3, 5), COLOUR)
    assert [(shot.first, round(shot.peak, -1)) for shot in shots] == [(0, 400), (3, 60), (5, 1000)]
    hdr = Hdr(shots=shots)
    assert hdr.within(0, 3).shots == shots[:1]
    assert hdr.within(2, 5).shots == shots[:2]
    assert hdr.within(4, 6).shots == shots[1:]
    assert hdr.within(6, 7).shots == shots[2:]
    tone = Hdr(ToneMap("log", 0.0, 500.0))
    assert tone.within(2, 5) == tone


def test_people_see_hdr_tone_mapped_and_sdr_as_it_is(tmp_path: Path) -> None:
    planes = to_planes(film(1, 24, 32), LAYOUT, COLOUR, 0)
    coded, seen = to_rgb(planes, LAYOUT, COLOUR, torch.device("cpu")), seen_rgb(planes, LAYOUT, COLOUR)
    assert float(seen.max()) <= 1 and float((seen - coded).abs().mean()) > 0.02
    sdr = Colour(1, 1, 1, False)
    assert torch.equal(seen_rgb(planes, LAYOUT, sdr), to_rgb(planes, LAYOUT, sdr, torch.device("cpu")))


def test_a_source_is_held_against_an_sdr_master_as_that_shows_it() -> None:
    planes = to_planes(film(2, 24, 32), LAYOUT, COLOUR, 0)
    same, layout, colour = as_sdr(planes, LAYOUT, COLOUR, None)
    assert (list(same), layout, colour) == (planes, LAYOUT, COLOUR)
    mapped, layout, colour = as_sdr(planes, LAYOUT, COLOUR, ToneMap("aces", 0.0, 1000.0))
    assert (layout.family, colour.transfer, len(list(mapped))) == ("rgb", 1, 2)
