"""Any single-image network that `spandrel` can recognise, straight from a weights file, as an upscaler.

A weights file is data and is read as data: safetensors, or a torch checkpoint through torch's weights-only reader. A
file that would have to run code to be read is refused.

Knows nothing of architectures (spandrel does) and nothing of time: every frame is enlarged alone, so a network that
invents detail will let it flicker.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns; a leading 1 is a batch of one.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import pickle
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from vsr_model.classical import FramewiseStream
from vsr_model.contract import Corner, ModelEntry, ModelInfo, ModelRef, Placement
from vsr_model.errors import ModelError, UnsupportedScale, WeightsError

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")

# How the bytes of a torch checkpoint begin: a zip archive, or the pickle of older versions.
_TORCH_MAGIC = (b"PK\x03\x04", b"\x80")

# Side of the picture that every freshly loaded network is tried on.
_TRIAL = 32


class SingleImageUpscaler:
    """A single-image network on one device. Made by `load`."""

    def __init__(
        self, network: Any, info: ModelInfo, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
    ) -> None:
        """Take a spandrel image descriptor that already lies on `device` in `dtype` and wants frames in `layout`."""
        self._network = network
        self._info = info
        self._device = device
        self._dtype = dtype
        self._layout = layout

    @property
    def info(self) -> ModelInfo:
        """What it can do, as data."""
        return self._info

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        return self._device

    def stream(
        self,
        height: int,
        width: int,
        scale: int,
        seed: int = 0,
        first_frame: int = 0,
        corner: Corner = (0, 0),
    ) -> FramewiseStream:
        """Open a stream (see `vsr_model.contract.Upscaler.stream`); seed and place change nothing.

        Frames are clamped to 0..1 before the network, which has seen nothing else, and its results to 0..1 after it.

        Raises:
            UnsupportedScale: `scale` is not the one factor the network was trained for.
        """
        if scale not in self._info.scales:
            only = self._info.scales[0]
            raise UnsupportedScale(
                f"{self._info.name} enlarges by {only}, not by {scale}: ask for {only}, or choose other weights"
            )
        return FramewiseStream(height, width, scale, self._device, self._run)

    @torch.inference_mode()
    def _run(self, x_3HW: torch.Tensor, out_3HW: torch.Tensor) -> None:
        x_13HW = x_3HW[None].clamp(0.0, 1.0).to(self._dtype).contiguous(memory_format=self._layout)
        # The descriptor pads to the network's size requirements and trims what it padded.
        out_3HW.copy_(self._network(x_13HW)[0])


def entry(path: str) -> ModelEntry:
    """Return the registry's row for the weights file at `path`; reads the file once for as long as it is unchanged.

    Raises:
        WeightsError: see `load`.
    """
    info, weights_hash = _describe(path, _stamp(path))
    return ModelEntry(
        info=info,
        reference=lambda: ModelRef(name=path, weights_hash=weights_hash),
        load=lambda placement: load(path, placement),
    )


def load(path: str, placement: Placement) -> SingleImageUpscaler:
    """Load the network in the weights file at `path`.

    Args:
        path: a local `.safetensors`, `.pth`, `.pt` or `.ckpt` file.
        placement: device and dtype; "auto" is the network's best half precision on CUDA and float32 elsewhere.

    Raises:
        WeightsError: the file is missing, damaged or unsafe, holds no network that spandrel knows or not one that
            enlarges RGB pictures, or spandrel is not installed. The message says which, and what to do.
        ModelError: the network does not support the dtype asked for.
    """
    network = _network(path, _read(path))
    info = _info(path, network)
    device = torch.device(placement.device)
    dtype = _dtype(placement, info)
    layout = _try_out(path, network)
    network.to(device, dtype)
    return SingleImageUpscaler(network, info, device, dtype, layout)


def _stamp(path: str) -> tuple[int, int]:
    """Return what changes when the file does: modification time in ns and size in bytes; zeros if there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=16)
def _describe(path: str, stamp: tuple[int, int]) -> tuple[ModelInfo, str]:
    """Return what is in the file, and blake2b-256 of its bytes; `stamp` only keeps a changed file from the cache."""
    data = _read(path)
    return _info(path, _network(path, data)), hashlib.blake2b(data, digest_size=32).hexdigest()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; check the path (weights must lie on a local disk)") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check that it is a readable file") from error


def _state_dict(path: str, data: bytes) -> dict[str, Any]:
    """Return the tensors in `data` by name, without running anything it contains."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise WeightsError(f"{path}: not a kind of weights file known here; use one of {', '.join(SUFFIXES)}")
    try:
        if suffix == ".safetensors":
            return safetensors.torch.load(data)
        tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not data.startswith(_TORCH_MAGIC):
            raise WeightsError(
                f"{path}: not a torch checkpoint; look at what was downloaded, and download it again"
            ) from error
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"reading it would run {wanted[1]}" if wanted else "its pickle holds more than plain weights"
        raise WeightsError(
            f"{path}: refused, because {reason}; ask its author for a .safetensors file, or convert it to one "
            "on a machine where you can afford to trust it"
        ) from error
    except Exception as error:
        # Each format complains of damage in types of its own, down to KeyError and a bare RuntimeError.
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path}: a TorchScript program, not weights; use the state dict it came from"
            ) from error
        raise WeightsError(
            f"{path}: damaged or incomplete ({_first_line(error)}); it has {len(data)} bytes: compare that with the "
            "original and copy it again"
        ) from error
    if not isinstance(tensors, dict):
        raise WeightsError(f"{path}: holds a {type(tensors).__name__}, not named weights; use a state dict")
    return tensors


def _network(path: str, data: bytes) -> Any:
    """Return the spandrel descriptor of the network in `data`, on the CPU."""
    state_dict = _state_dict(path, data)
    spandrel = _spandrel(path)
    try:
        return spandrel.ModelLoader().load_from_state_dict(state_dict)
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(
            f"{path}: not an architecture that spandrel {spandrel.__version__} knows; "
            "use the weights of a single-image super-resolution network from its list"
        ) from error
    except Exception as error:
        # Detection looks at a few names only; what follows fails in as many ways as there are architectures.
        raise WeightsError(
            f"{path}: looks like a known architecture but does not fit it ({_first_line(error)}); "
            "the file may be incomplete or of a newer variant: try a newer spandrel, or other weights"
        ) from error


def _spandrel(path: str) -> Any:
    try:
        return importlib.import_module("spandrel")
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"{path}: reading network files needs spandrel, and {error.name} is missing; "
            'pip install "remaster[spandrel]"'
        ) from error
    except (ImportError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"{path}: spandrel is installed but does not start ({_first_line(error)}); "
            "usually torchvision was built for another torch: install the torchvision that matches"
        ) from error


def _info(path: str, network: Any) -> ModelInfo:
    """Return what the network can do, or raise WeightsError if that is not enlarging RGB pictures."""
    if network.purpose not in ("SR", "Restoration"):
        raise WeightsError(
            f"{path}: a {network.architecture.name} network for {network.purpose}, not for enlarging pictures; "
            "use a super-resolution network"
        )
    if (network.input_channels, network.output_channels) != (3, 3):
        raise WeightsError(
            f"{path}: takes {network.input_channels} channels and gives {network.output_channels}; "
            "use a network that takes and gives RGB (3 and 3)"
        )
    dtypes = ["float32"]
    # bfloat16 has fewer steps between black and white than an 8-bit picture: only where float16 would overflow.
    if network.supports_bfloat16:
        dtypes.insert(0, "bfloat16")
    if network.supports_half:
        dtypes.insert(0, "float16")
    return ModelInfo(
        name=path,
        scales=(network.scale,),
        size_multiple=network.size_requirements.multiple_of,
        dtypes=tuple(dtypes),
        # 64 float32 features at output size, four such buffers alive: the tail of the hungriest common networks.
        bytes_per_pixel=1024.0,
        tiling=network.tiling.name == "SUPPORTED",
        summary=f"{network.architecture.name}, {network.scale}x",
    )


def _try_out(path: str, network: Any) -> torch.memory_format:
    """Run the network once, on the CPU where only the network can be to blame; return the memory layout it bears."""
    network.eval()
    frame_13HW = torch.full((1, 3, _TRIAL, _TRIAL), 0.5)
    wanted = (1, 3, _TRIAL * network.scale, _TRIAL * network.scale)
    # Networks that call .view() on their features only take the plain layout; the others are faster in the other.
    for layout in (torch.channels_last, torch.contiguous_format):
        for module in network.model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=layout)  # type: ignore[call-overload]
        try:
            shape = tuple(network(frame_13HW.contiguous(memory_format=layout)).shape)
        except Exception as error:
            failure = error
        else:
            if shape == wanted:
                return layout
            failure = ValueError(f"gave {list(shape)} instead of {list(wanted)}")
    raise WeightsError(
        f"{path}: the network does not run on a {_TRIAL}x{_TRIAL} picture ({_first_line(failure)}); "
        "check that the file holds a complete network of the architecture it claims"
    ) from failure


def _dtype(placement: Placement, info: ModelInfo) -> torch.dtype:
    name = placement.dtype
    if name == "auto":
        name = info.dtypes[0] if torch.device(placement.device).type == "cuda" else "float32"
    if name not in info.dtypes:
        raise ModelError(f"{info.name} does not run in {name}: use auto or one of {', '.join(info.dtypes)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _first_line(error: Exception) -> str:
    """Return the gist of an error whose full text may run over a screen of advice."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
