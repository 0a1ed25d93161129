"""What can go wrong with a network, each with what to do next.

ModelError
├── UnknownModel        no network of that name; names the nearest known one
├── UnsupportedScale    the network cannot produce that factor
└── WeightsError        a weights file is missing, unsafe, truncated or not for this network
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of everything a network can complain about."""


class UnknownModel(ModelError):
    """No network of that name."""


class UnsupportedScale(ModelError):
    """The network cannot produce that factor."""


class WeightsError(ModelError):
    """A weights file is missing, unsafe, truncated, or not for this network."""
