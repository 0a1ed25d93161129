"""Everything that can go wrong outside the networks, and whether trying again can help.

RemasterError
├── PermanentError             trying again gives the same answer; Prefect does not retry it
│   ├── UsageError             the command, a profile or a path is wrong (exit code 2)
│   ├── SourceError            a source cannot be read, or is not what its name says
│   ├── UnsupportedSource      readable, but not handled: the message names the reason and the way round it
│   │   └── SizeChanges        the picture changes size in mid-stream: its parts can be titles
│   ├── SourceChanged          the source's bytes differ from those the plan was made from
│   ├── CheckFailed            a master or segment does not keep the media contract
│   └── Quarantined            a shard that took down too many workers
└── TransientError             worth another attempt
    ├── StoreError             the object store or disk did not do what it was asked
    │   ├── StoreFull          no space left
    │   └── StoreDamaged       what is stored is not what was written
    ├── WorkerLost             an actor or its node died, or stopped answering
    ├── LeaseLost              a lease was not renewed in time, and another driver may go on instead
    └── OutOfMemory            the device ran out of memory

A message says what happened, to which title and shard, and what to do next. `vsr_model.errors` has the networks' own
tree; all of it is permanent but a bucket of weights that does not answer.
"""

from __future__ import annotations

from vsr_model.errors import ModelError, WeightsUnreachable


class RemasterError(Exception):
    """Base of the project's errors."""


class PermanentError(RemasterError):
    """Trying again gives the same answer."""


class UsageError(PermanentError):
    """The command, a profile or a path is wrong."""


class SourceError(PermanentError):
    """A source cannot be read, or is not what its name says."""


class UnsupportedSource(PermanentError):
    """A source is readable but of a kind that is not handled."""


class SizeChanges(UnsupportedSource):
    """A picture changes its size or format in mid-stream, where the source can be cut into parts.

    Attributes:
        at: when the first picture of every part but the first is shown, in the stream's time base.
    """

    def __init__(self, message: str, at: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.at = at


class SourceChanged(PermanentError):
    """The source's bytes differ from those the plan was made from."""


class CheckFailed(PermanentError):
    """A master or segment does not keep the media contract."""


class Quarantined(PermanentError):
    """A shard took down too many workers."""


class TransientError(RemasterError):
    """Worth another attempt."""


class StoreError(TransientError):
    """The object store or disk did not do what it was asked."""


class StoreFull(StoreError):
    """No space left."""


class StoreDamaged(StoreError, ValueError):
    """What is stored is not what was written. A ValueError too, as is what a damaged file raises when it is parsed."""


class WorkerLost(TransientError):
    """An actor or its node died, or stopped answering."""


class LeaseLost(TransientError):
    """A lease was not renewed in time, and another driver may go on instead."""


class OutOfMemory(TransientError):
    """The device ran out of memory."""


def is_permanent(error: BaseException) -> bool:
    """True if trying again cannot help."""
    return isinstance(error, PermanentError | ModelError) and not isinstance(error, WeightsUnreachable)
