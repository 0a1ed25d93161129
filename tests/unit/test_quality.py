"""Each metric says what its definition says, and two runs that cannot be compared are refused with the difference."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.cli import main
from tasks.errors import SourceError, UsageError
from tasks.media.reading.source import Source
from tasks.quality import libvmaf
from tasks.quality.flicker import WarpError, opencv
from tasks.quality.libvmaf import Luma, measure
from tasks.quality.lpips import Lpips, load_lpips, read_weights
from tasks.quality.score import score
from tests.clips import Clip, make
from vsr_model.errors import WeightsError

cv2 = opencv()
needs_opencv = pytest.mark.skipif(cv2 is None, reason="OpenCV is not installed")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft texture with detail at every place, [H, W] in 0..1."""
    coarse = torch.rand((1, 1, height // 4, width // 4), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0, 0].clamp(0, 1).numpy()


def planes(offset: int = 0, blur: bool = False, depth: int = 8) -> Iterator[Luma]:
    for seed in range(4):
        plane = noise(96, 128, seed)
        plane = (plane + np.roll(plane, 3, 0) + np.roll(plane, 3, 1)) / 3 if blur else plane
        codes = (plane * 180 + 30).round() + offset
        yield codes.astype(np.uint8) if depth == 8 else codes.astype(np.uint16) << (depth - 8)


@pytest.mark.parametrize("depth", [8, 10])
def test_psnr_of_a_known_error(depth: int) -> None:
    found = measure(planes(depth=depth), planes(offset=4, depth=depth), 96, 128, depth)
    peak, error = (1 << depth) - 1, 4 << (depth - 8)
    assert found.psnr_y == pytest.approx(20 * np.log10(peak / error), abs=1e-3)


def test_the_result_is_judged_by_the_reference_and_not_the_other_way_round() -> None:
    """VMAF is the one metric that is not symmetrical: too soft costs, too sharp pays."""
    softer = measure(planes(), planes(blur=True), 96, 128, 8)
    sharper = measure(planes(blur=True), planes(), 96, 128, 8)
    assert softer.vmaf < sharper.vmaf - 5
    assert softer.psnr_y == pytest.approx(sharper.psnr_y)
    assert 0 < softer.ssim_y < 1


def test_a_comparison_that_stands_still_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = tmp_path / "ffmpeg"
    idle.write_text("#!/bin/sh\nexec sleep 60\n")
    idle.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(idle))
    monkeypatch.setattr(libvmaf, "_STALL", 0.3)
    planes = [np.zeros((720, 1280), np.uint8)] * 3
    with pytest.raises(SourceError, match="ffmpeg did nothing"):
        measure(iter(planes), iter(planes), 720, 1280, 8)


def test_equal_files_score_best(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", Clip(frames=7, width=66, height=50))
    found = score(Source(str(clip), "a"), Source(str(clip), "a"))
    assert (found.frames, found.psnr_y, found.ssim_y) == (7, 60.0, 1.0)
    assert found.flicker == found.flicker_of_reference


def test_depths_are_brought_together(tmp_path: Path) -> None:
    """8-bit codes and the same in 10 bits are the same picture."""
    shallow = make(tmp_path / "a.mkv", Clip(frames=3, codec="ffv1", pix_fmt="yuv420p"))
    deep = make(tmp_path / "b.mkv", Clip(frames=3, codec="ffv1", pix_fmt="yuv420p10le"))
    found = score(Source(str(shallow), "a"), Source(str(deep), "b"))
    assert found.psnr_y > 50  # the two differ by how their RGB was rounded


def test_a_colour_that_is_not_tagged_is_the_others(tmp_path: Path) -> None:
    """A master is tagged with what was guessed of its small source; its large reference says nothing."""
    truth = make(tmp_path / "truth.mkv", Clip(frames=3, width=64, height=592, colour=None))
    master = make(tmp_path / "master.mkv", Clip(frames=3, width=64, height=592, colour=(6, 6, 6, 1)))
    assert score(Source(str(truth), "truth"), Source(str(master), "master")).psnr_y > 20


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (Clip(frames=6, width=80), "width is 80"),
        (Clip(frames=6, colour=(5, 5, 6, 1)), "matrix 6"),
        (Clip(frames=5), "ends after 5 frames"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, other: Clip, names: str) -> None:
    one, two = make(tmp_path / "one.mp4", Clip(frames=6)), make(tmp_path / "two.mp4", other)
    with pytest.raises(UsageError, match=names):
        score(Source(str(one), "one.mp4"), Source(str(two), "two.mp4"))


def test_score_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(make(tmp_path / "a.mp4", Clip(frames=3)))
    assert main(["score", clip, clip]) == 0
    assert "PSNR-Y     60.00 dB" in capsys.readouterr().out
    assert main(["score", clip, clip, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 3
    assert main(["score", clip, str(tmp_path / "b.mp4")]) == 2
    assert "no such file" in capsys.readouterr().err


@needs_opencv
def test_motion_is_no_flicker_and_flicker_is() -> None:
    assert cv2 is not None
    wide = noise(128, 400)
    rng = np.random.default_rng(1)
    steady, shimmering = WarpError(cv2), WarpError(cv2)
    assert steady.means() is None
    for t in range(5):
        frame = np.ascontiguousarray(wide[:, 3 * t : 3 * t + 192], np.float32)
        steady.add(frame, frame)
        shimmering.add(frame, frame + rng.normal(0, 0.05, frame.shape).astype(np.float32))
    still, moving = steady.means(), shimmering.means()
    assert still is not None
    assert moving is not None
    assert still[0] == still[1] < 0.2 * moving[1]
    assert moving[0] == still[0]
    # The noise of two frames adds up; fetching one of them between pixels smooths part of its share away.
    assert 1000 * 0.05**2 < moving[1] < still[1] + 1000 * 2 * 0.05**2


def lpips_tree() -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Arrays named and shaped as in the published file, of random values."""
    rng = np.random.default_rng(0)
    widths = (3, 64, 192, 384, 256, 256)
    sizes = (11, 5, 3, 3, 3)
    convs = {
        f"Conv_{n}": {
            "kernel": rng.normal(0, 0.05, (size, size, widths[n], widths[n + 1])).astype(np.float32),
            "bias": rng.normal(0, 0.05, widths[n + 1]).astype(np.float32),
        }
        for n, size in enumerate(sizes)
    }
    heads = {
        f"NetLinLayer_{n}": {"Conv_0": {"kernel": rng.random((1, 1, widths[n + 1], 1)).astype(np.float32)}}
        for n in range(5)
    }
    return {"AlexNet_0": convs, **heads}


def test_lpips_is_a_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lpips" / "alexnet.ckpt"
    file.parent.mkdir()
    file.write_bytes(pickle.dumps(lpips_tree()))
    monkeypatch.setenv("REMASTER_WEIGHTS", str(tmp_path))
    metric = load_lpips(torch.device("cpu"))
    assert metric is not None
    a, b = (torch.rand((2, 3, 64, 72), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert metric(a, a).tolist() == [0.0, 0.0]
    assert torch.allclose(metric(a, b), metric(b, a))
    near, far = metric(a, a + 0.02 * (b - a)), metric(a, b)
    assert (near > 0).all()
    assert (near < far).all()


def test_lpips_without_weights_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMASTER_WEIGHTS", str(tmp_path))
    assert load_lpips(torch.device("cpu")) is None


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("content", [pickle.dumps(Bomb()), pickle.dumps({"AlexNet_0": {}}), b"", b"junk"])
def test_lpips_weights_that_are_none_are_refused(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alexnet.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match="not the weights of LPIPS"):
        read_weights(tmp_path / "alexnet.ckpt")
    assert not (tmp_path / "exploded").exists()


def lpips_by_hand(a_3HW: np.ndarray, b_3HW: np.ndarray) -> float:
    """The definition once more, from the arrays as they are published, with nothing but numpy."""
    tree = lpips_tree()
    distance = 0.0
    features = []
    for picture in (a_3HW, b_3HW):
        shifted = picture * 2 - 1 - np.array([-0.030, -0.088, -0.188])[:, None, None]
        features.append((shifted / np.array([0.458, 0.448, 0.450])[:, None, None]).transpose(1, 2, 0))
    for n, (stride, padding, pooled) in enumerate(((4, 2, 0), (1, 2, 1), (1, 1, 1), (1, 1, 0), (1, 1, 0))):
        for i, x in enumerate(features):
            if pooled:
                x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))[::2, ::2].max(axis=(-2, -1))
            kernel, bias = tree["AlexNet_0"][f"Conv_{n}"]["kernel"], tree["AlexNet_0"][f"Conv_{n}"]["bias"]
            size = kernel.shape[0]
            padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (0, 1))[::stride, ::stride]
            features[i] = np.maximum(np.einsum("hwcyx,yxco->hwo", windows, kernel) + bias, 0)
        one, other = (x / (np.sqrt((x**2).sum(axis=-1, keepdims=True)) + 1e-10) for x in features)
        distance += float(((one - other) ** 2 @ tree[f"NetLinLayer_{n}"]["Conv_0"]["kernel"][0, 0]).mean())
    return distance


def test_lpips_is_what_it_is_defined_to_be(tmp_path: Path) -> None:
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps(lpips_tree()))
    metric = Lpips(read_weights(tmp_path / "alexnet.ckpt"), torch.device("cpu"))
    a, b = (torch.rand((3, 64, 72), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    wanted = lpips_by_hand(a.double().numpy(), b.double().numpy())
    assert float(metric(a[None], b[None])) == pytest.approx(wanted, rel=1e-4)
