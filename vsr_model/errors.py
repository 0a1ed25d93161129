"""What can go wrong with a network, each with what to do next.

ModelError
├── UnknownModel        no network of that name; names the nearest known one
├── UnsupportedScale    the network cannot produce that factor
└── WeightsError        a weights file is missing, unsafe, truncated or not for this network
    └── WeightsUnreachable   the bucket with the weights does not answer; trying again may help
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


class WeightsUnreachable(WeightsError):
    """The bucket with the weights does not answer."""
