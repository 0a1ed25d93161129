"""`swift` as an upscaler: its weights, its streams and what it promises.

A stream feeds the network one frame at a time, always alone and always in order, so the slicing into pushes cannot
change a bit. On CUDA the step of a stream is captured once as a graph and replayed: no launch overhead, no host sync.

Knows nothing of how the network was trained.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns, C memory channels; a leading 1 is a batch of one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from vsr_model.classical import FramewiseStream, resize
from vsr_model.contract import Corner, ModelEntry, ModelInfo, ModelRef, Placement
from vsr_model.errors import ModelError, UnsupportedScale, WeightsError
from vsr_model.swift.network import Shape, State, Swift, channels_last

_FOLDER = Path(__file__).parent
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

INFO: dict[str, ModelInfo] = {
    "swift": ModelInfo(
        name="swift",
        scales=(2, 3, 4),
        reduced=(3,),
        warm_up=12,
        dtypes=("float16", "float32", "bfloat16"),
        bytes_per_pixel=700.0,
        summary="built-in recurrent network, faithful to clean sources; 3 frames a second of 320x180 on two CPU cores",
        licence="Apache-2.0",
    ),
    "swift-restore": ModelInfo(
        name="swift-restore",
        scales=(2, 3, 4),
        reduced=(3,),
        warm_up=12,
        dtypes=("float16", "float32", "bfloat16"),
        bytes_per_pixel=700.0,
        summary="the same network with more blocks, taught on compressed, soft and noisy sources; 1.4 times as long",
        licence="Apache-2.0",
    ),
}


class SwiftUpscaler:
    """The network on one device. Made by `load`."""

    def __init__(self, network: Swift, info: ModelInfo, device: torch.device, dtype: torch.dtype) -> None:
        """Take a network with float32 weights and put it on `device` to compute in `dtype`."""
        self._network = channels_last(network.to(device)).eval().requires_grad_(False)
        for parameter in self._network.parameters():  # not the buffers: the enlargement stays exact to float32
            parameter.data = parameter.data.to(dtype)
        self._info = info
        self._device = device

    @property
    def info(self) -> ModelInfo:
        """What it can do, as data."""
        return self._info

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        return self._device

    def stream(
        self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
    ) -> SwiftStream:
        """Open a stream (see `vsr_model.contract.Upscaler.stream`); seed and place change nothing.

        Results are not clamped: what overshoots in the source still does.

        Raises:
            UnsupportedScale: `scale` is not 2, 3 or 4.
        """
        if scale not in self._info.scales:
            raise UnsupportedScale(f"{self._info.name} enlarges by 2, 3 or 4, not by {scale}: ask for one of those")
        return SwiftStream(self._network, height, width, scale, self._device)


class SwiftStream(FramewiseStream):
    """A run of frames with a memory. `reset` forgets it, as at a shot cut."""

    def __init__(self, network: Swift, height: int, width: int, scale: int, device: torch.device) -> None:
        """Open the stream; see `SwiftUpscaler.stream`."""
        super().__init__(height, width, scale, device, self._step)
        self._network = network
        # Factor 3 is factor 4 reduced: the network has seen no truth at 3, and reducing costs less than it would add.
        self._head = 4 if scale == 3 else scale
        self._fresh = True
        self._frame_13HW: torch.Tensor | None = None
        self._state: State | None = None
        self._replay: Callable[[], torch.Tensor] | None = None

    def reset(self) -> None:
        """Forget the past: the next frame starts a new shot."""
        self._fresh = True

    def finish(self) -> torch.Tensor:
        """Return no frames (none are ever held back), close the stream and free its memory."""
        self._state = self._frame_13HW = self._replay = None
        return super().finish()

    @torch.inference_mode()
    def _step(self, x_3HW: torch.Tensor, out_3HW: torch.Tensor) -> None:
        if self._frame_13HW is None or self._state is None:
            self._frame_13HW = x_3HW[None].float().clone()
            self._state = self._network.start(self._frame_13HW.clone())
            if self._frame_13HW.is_cuda:
                self._replay = self._capture()
        self._frame_13HW.copy_(x_3HW[None])
        if self._fresh:
            self._state.frame_B3HW.copy_(self._frame_13HW)
            self._state.memory_BCHW.zero_()
            self._fresh = False
        big_13HW = self._replay() if self._replay else self._advance()
        if big_13HW.shape[-2:] != out_3HW.shape[-2:]:
            big_13HW = resize(big_13HW, out_3HW.shape[-2], out_3HW.shape[-1])
        out_3HW.copy_(big_13HW[0])

    def _advance(self) -> torch.Tensor:
        """Run the network on the frame in hand and carry its state forward, in place."""
        assert self._frame_13HW is not None
        assert self._state is not None
        out_13HW, after = self._network(self._frame_13HW, self._state, self._head)
        self._state.memory_BCHW.copy_(after.memory_BCHW)
        self._state.frame_B3HW.copy_(self._frame_13HW)
        big_13HW: torch.Tensor = out_13HW
        return big_13HW

    def _capture(self) -> Callable[[], torch.Tensor]:
        """Record `_advance` as a CUDA graph; the dry runs leave a state that the first frame overwrites."""
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    self._advance()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                out_13HW = self._advance()

        def replay() -> torch.Tensor:
            graph.replay()
            return out_13HW

        return replay


def entry(name: str = "swift") -> ModelEntry:
    """Return the registry's row for one of the built-in sets of weights: a key of `INFO`."""
    return ModelEntry(
        info=INFO[name],
        reference=lambda: ModelRef(name=name, weights_hash=_weights_hash(name)),
        load=lambda placement: load(name, placement),
    )


def load(name: str, placement: Placement) -> SwiftUpscaler:
    """Load one of the built-in sets of weights.

    Args:
        name: a key of `INFO`.
        placement: device and dtype; "auto" is float16 on CUDA and float32 elsewhere.

    Raises:
        WeightsError: the weights are missing from the installation or damaged.
        ModelError: the dtype is not one of `info.dtypes`.
    """
    device = torch.device(placement.device)
    auto = "float16" if device.type == "cuda" else "float32"
    dtype_name = auto if placement.dtype == "auto" else placement.dtype
    if dtype_name not in INFO[name].dtypes:
        raise ModelError(
            f"{name} computes in {', '.join(INFO[name].dtypes)}, not in {dtype_name}: ask for one of those"
        )
    return SwiftUpscaler(read_network(_FOLDER / f"{name}.safetensors"), INFO[name], device, _DTYPES[dtype_name])


def read_network(path: Path) -> Swift:
    """Read weights as `vsr_model.training` writes them: safetensors whose metadata hold the network's sizes.

    Raises:
        WeightsError: no such file, or not weights of this network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        network = Swift(Shape(**{field.name: int(metadata[field.name]) for field in fields(Shape)}))
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not usable as swift weights ({error}); install the package again") from error
    return network


def _weights_hash(name: str) -> str:
    return hashlib.blake2b((_FOLDER / f"{name}.safetensors").read_bytes(), digest_size=32).hexdigest()
