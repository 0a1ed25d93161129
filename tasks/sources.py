"""Opening what a URI names for PyAV, as a path or by ranged reads; and telling whether it is still the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import SourceChanged
from tasks.media.source import Source
from tasks.records import Title
from tasks.store import is_remote, open_read, stat


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


def require_unchanged(title: Title) -> None:
    """Refuse a title whose file is not the one that was scanned, by size and stamp.

    Raises:
        SourceChanged: it was replaced, written to or removed.
    """
    try:
        now = stat(title.uri)
    except FileNotFoundError as error:
        raise SourceChanged(f"{title.name}: was removed during the run. Put it back, then run again.") from error
    if (now.size, now.stamp) != (title.size, title.stamp):
        raise SourceChanged(
            f"{title.name}: was changed during the run ({title.size} bytes then, {now.size} now). Run again once it is"
            " complete."
        )
