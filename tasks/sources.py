"""Opening what a URI names as a `Source` for PyAV: a path if the bytes are local, ranged reads if they are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.media.source import Source
from tasks.store import is_remote, open_read


@contextmanager
def open_source(uri: str, label: str) -> Iterator[Source]:
    """A source for as long as the block lasts.

    Args:
        uri: local path or remote URI.
        label: what a person calls it.
    """
    if not is_remote(uri):
        yield Source(uri, label)
        return
    with open_read(uri) as file:
        yield Source(file, label)
