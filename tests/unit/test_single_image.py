"""Network files: the good ones run, and every bad one is refused with what happened and what to do."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.unit.spandrel_shim import require_spandrel
from vsr_model import single_image
from vsr_model.contract import Placement
from vsr_model.errors import ModelError, UnsupportedScale, WeightsError
from vsr_model.registry import find


def compact_state_dict(scale: int, channels: int = 3, features: int = 8) -> dict[str, torch.Tensor]:
    """Return random weights of a very small SRVGGNetCompact: three convolutions with PReLU between."""
    generator = torch.Generator().manual_seed(scale)
    widths = [channels, features, features, channels * scale * scale]
    state: dict[str, torch.Tensor] = {}
    for i, (before, after) in enumerate(pairwise(widths)):
        state[f"body.{2 * i}.weight"] = torch.randn((after, before, 3, 3), generator=generator) * 0.1
        state[f"body.{2 * i}.bias"] = torch.randn((after,), generator=generator) * 0.1
        if i + 2 < len(widths):
            state[f"body.{2 * i + 1}.weight"] = torch.full((after,), 0.2)
    return state


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return the path of a good x2 network."""
    path = tmp_path / "tiny.safetensors"
    save_file(compact_state_dict(2), path)
    return path


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
def test_a_checkpoint_with_code_in_it_is_refused_and_does_not_run(tmp_path: Path, suffix: str, legacy: bool) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / f"bomb{suffix}"
    state = {**compact_state_dict(2), "extra": Bomb(mark)}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"bomb.*refused.*would run \w+\.mkdir; ask its author for a \.safetensors"):
        find(str(path))
    assert not mark.exists()


def test_a_bare_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(WeightsError, match="refused"):
        find(str(path))
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 40, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_a_truncated_file(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".safetensors":
        save_file(compact_state_dict(2), path)
    else:
        torch.save(compact_state_dict(2), path, _use_new_zipfile_serialization=suffix == ".pth")
    whole = path.read_bytes()
    cut = whole[: int(keep * len(whole)) if keep < 1 else int(keep)]
    path.write_bytes(cut)
    with pytest.raises(WeightsError, match=rf"cut\{suffix}: damaged or incomplete .*it has {len(cut)} bytes"):
        find(str(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_web_page_instead_of_weights(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"page{suffix}"
    path.write_text("<!doctype html><title>404</title>")
    with pytest.raises(WeightsError, match=r"page.*(download it again|copy it again)"):
        find(str(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.pth: no such file; check the path"):
        find(str(tmp_path / "gone.pth"))
    with pytest.raises(WeightsError, match="cannot be read"):
        find(str(tmp_path) + os.sep)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"onnx")
    with pytest.raises(WeightsError, match=r"use one of \.safetensors, \.pth"):
        find(str(path))


def test_a_torchscript_program(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(WeightsError, match="TorchScript program, not weights"):
        find(str(path))


def test_a_checkpoint_that_is_not_a_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(3)], path)
    with pytest.raises(WeightsError, match="holds a list, not named weights"):
        find(str(path))


def test_without_spandrel(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(WeightsError, match=r'spandrel is missing; pip install "remaster\[spandrel\]"'):
        find(str(weights))


def test_with_a_torchvision_that_does_not_fit(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(single_image.importlib, "import_module", broken)
    with pytest.raises(WeightsError, match=r"nms does not exist.*install the torchvision that matches"):
        find(str(weights))


def test_an_unknown_architecture(tmp_path: Path) -> None:
    require_spandrel()
    path = tmp_path / "other.safetensors"
    save_file({"some.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(WeightsError, match=r"other\.safetensors: not an architecture that spandrel .* knows"):
        find(str(path))


def test_an_incomplete_network(tmp_path: Path) -> None:
    require_spandrel()
    state = compact_state_dict(2)
    del state["body.2.bias"]
    path = tmp_path / "part.safetensors"
    save_file(state, path)
    with pytest.raises(WeightsError, match="does not fit it"):
        find(str(path))


def test_a_grey_network(tmp_path: Path) -> None:
    require_spandrel()
    path = tmp_path / "grey.safetensors"
    save_file(compact_state_dict(2, channels=1), path)
    with pytest.raises(WeightsError, match=r"takes 1 channels and gives 1; use a network that takes and gives RGB"):
        find(str(path))


def test_a_network_for_something_else(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spandrel = require_spandrel()
    monkeypatch.setattr(spandrel.ImageModelDescriptor, "purpose", "FaceSR")
    with pytest.raises(WeightsError, match="for FaceSR, not for enlarging pictures"):
        find(str(weights))


def test_a_network_that_does_not_run(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spandrel = require_spandrel()
    entry = find(str(weights))
    monkeypatch.setattr(spandrel.ImageModelDescriptor, "__call__", lambda self, image: image)
    with pytest.raises(WeightsError, match=r"does not run on a 32x32 picture \(gave \[1, 3, 32, 32\] instead"):
        entry.load(Placement())


def test_a_network_that_needs_the_plain_layout(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spandrel = require_spandrel()
    frame_T3HW = torch.rand((1, 3, 10, 12), generator=torch.Generator().manual_seed(5))
    want_T3HW = find(str(weights)).load(Placement()).stream(10, 12, 2).push(frame_T3HW)
    call = spandrel.ImageModelDescriptor.__call__

    def viewing(self: object, image_13HW: torch.Tensor) -> torch.Tensor:
        image_13HW.view(-1)
        out_13HW: torch.Tensor = call(self, image_13HW)
        out_13HW.view(-1)
        return out_13HW

    monkeypatch.setattr(spandrel.ImageModelDescriptor, "__call__", viewing)
    got_T3HW = find(str(weights)).load(Placement()).stream(10, 12, 2).push(frame_T3HW)
    assert torch.allclose(got_T3HW, want_T3HW, atol=1e-6)


def test_what_it_says_of_itself(weights: Path) -> None:
    require_spandrel()
    entry = find(str(weights))
    assert entry.missing is None
    assert entry.info.name == str(weights)
    assert entry.info.scales == (2,)
    assert entry.info.dtypes == ("float16", "bfloat16", "float32")
    assert entry.info.tiling
    assert entry.reference().name == str(weights)
    assert entry.reference().weights_hash == hashlib.blake2b(weights.read_bytes(), digest_size=32).hexdigest()


def test_a_file_is_examined_once_until_it_changes(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_spandrel()
    first = find(str(weights)).reference().weights_hash
    read = single_image._read
    reads: list[str] = []
    monkeypatch.setattr(single_image, "_read", lambda path: (reads.append(path), read(path))[1])
    assert find(str(weights)).reference().weights_hash == first
    assert reads == []
    save_file(compact_state_dict(4), weights)
    assert find(str(weights)).info.scales == (4,)
    assert find(str(weights)).reference().weights_hash != first


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"params_ema": state}])
def test_every_container_gives_the_same_picture(
    tmp_path: Path, weights: Path, wrap: Callable[[dict[str, torch.Tensor]], dict[str, Any]]
) -> None:
    require_spandrel()
    path = tmp_path / "tiny.pth"
    torch.save(wrap(compact_state_dict(2)), path)
    frames_T3HW = torch.rand((2, 3, 9, 11), generator=torch.Generator().manual_seed(3))
    outs = [find(str(file)).load(Placement()).stream(9, 11, 2).push(frames_T3HW) for file in (weights, path)]
    assert torch.equal(*outs)
    assert outs[0].min() >= 0.0
    assert outs[0].max() <= 1.0


def test_excursions_are_clamped_before_the_network(weights: Path) -> None:
    require_spandrel()
    stream = find(str(weights)).load(Placement()).stream(8, 8, 2)
    frames_T3HW = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(4)) * 2 - 0.5
    assert torch.equal(stream.push(frames_T3HW), stream.push(frames_T3HW.clamp(0, 1)))


def test_scale_and_dtype_are_the_networks_own(weights: Path) -> None:
    require_spandrel()
    upscaler = find(str(weights)).load(Placement(dtype="float32"))
    with pytest.raises(UnsupportedScale, match="enlarges by 2, not by 4: ask for 2"):
        upscaler.stream(8, 8, 4)
    with pytest.raises(ModelError, match="does not run in float64: use auto or one of float16, bfloat16, float32"):
        find(str(weights)).load(Placement(dtype="float64"))


def test_half_precision_on_request(weights: Path) -> None:
    require_spandrel()
    frames_T3HW = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(6))
    outs = [
        find(str(weights)).load(Placement(dtype=dtype)).stream(8, 8, 2).push(frames_T3HW)
        for dtype in ("float32", "bfloat16")
    ]
    assert outs[1].dtype == torch.float32
    assert not torch.equal(*outs)
    assert (outs[0] - outs[1]).abs().max() < 0.05
