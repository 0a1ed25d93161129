"""Which networks there are: a name, or the path of a weights file, becomes a `ModelEntry`.

A plain table. A network to come adds one line to it.

Knows nothing of how a network computes, and loads none until asked to.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import partial

import torch

from vsr_model import classical, single_image
from vsr_model.contract import ModelEntry, Placement, Upscaler
from vsr_model.errors import UnknownModel, WeightsError
from vsr_model.flashvsr import models as flashvsr
from vsr_model.swift import upscaler as swift

_BUILT_IN: dict[str, Callable[[], ModelEntry]] = {
    "bicubic": lambda: classical.entry("bicubic"),
    "lanczos": lambda: classical.entry("lanczos"),
    **{name: partial(swift.entry, name) for name in swift.INFO},
    **{mode: partial(flashvsr.entry, mode) for mode in flashvsr.MODES},
    "flashvsr-test": flashvsr.small_entry,
}


def models() -> list[ModelEntry]:
    """Return every built-in network, in the table's order; files are not listed, any of them can be named."""
    return [entry() for entry in _BUILT_IN.values()]


def states() -> tuple[list[tuple[ModelEntry, str]], WeightsError | None]:
    """Return every built-in network with what is to be said of it here, and why a bucket did not answer, if it did not.

    Such a bucket is asked once, and not for each of its networks.
    """
    rows: list[tuple[ModelEntry, str]] = []
    silent: WeightsError | None = None
    for entry in models():
        missing = ""
        try:
            missing = entry.missing() if entry.missing and not silent else ""
        except WeightsError as error:
            silent = error
        known = f"not installed: {missing}" if missing else ""
        rows.append((entry, "installed or not: see below" if entry.missing and silent else known))
    return rows, silent


def find(name: str) -> ModelEntry:
    """Return the network called `name`.

    Args:
        name: a built-in name, or the path of a weights file: anything with a path separator or ending in
            .safetensors, .pth, .pt or .ckpt.

    Raises:
        UnknownModel: no built-in of that name; says which is nearest and which there are.
        WeightsError: `name` is a path, and the file there cannot be used.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    if is_path(name):
        return single_image.entry(name)
    near = difflib.get_close_matches(name.lower(), _BUILT_IN, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise UnknownModel(
        f"no model is called {name!r}: {guess}Known are {', '.join(_BUILT_IN)}, "
        f"and any weights file ({', '.join(single_image.SUFFIXES)})"
    )


def load(name: str, placement: Placement) -> Upscaler:
    """Return the network called `name`, ready where `placement` says.

    Raises:
        UnknownModel: see `find`.
        WeightsError: see `find`.
        ModelError: the network does not support the dtype asked for.
    """
    return find(name).load(placement)


def load_for_measuring(name: str, dtype: str, random_weights: bool) -> Upscaler:
    """Return a network on this machine's accelerator if it has one; errors as for `load`."""
    placement = Placement("cuda" if torch.cuda.is_available() else "cpu", dtype)
    return flashvsr.load_random(name, placement) if random_weights else load(name, placement)


def is_path(name: str) -> bool:
    """True if a model's name is the path of a weights file."""
    separators = os.sep + (os.altsep or "")
    return any(separator in name for separator in separators) or name.lower().endswith(single_image.SUFFIXES)
