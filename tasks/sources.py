"""Opening what a URI names for PyAV, as a path or by ranged reads; and telling whether it is still the same.

A run of numbered image files is opened as the film that they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO

from tasks.errors import SourceChanged
from tasks.media.movie import movie_header
from tasks.media.source import Source
from tasks.records import Title
from tasks.store import is_remote, open_read, stat
from tasks.store.sequence import Pattern, open_run, pattern_of

# Of a run of files of which nobody has said; who only counts or compares frames need not know.
_USUAL = Fraction(24)


@contextmanager
def open_source(uri: str, label: str) -> Iterator[Source]:
    """A source for as long as the block lasts.

    Args:
        uri: local path or remote URI, of a file or a run of numbered ones.
        label: what a person calls it.
    """
    pattern = pattern_of(uri)
    if pattern is None and not is_remote(uri):
        yield Source(uri, label)
        return
    with _open_film(uri, pattern) if pattern else open_read(uri) as file:
        yield Source(file, label)


def _open_film(uri: str, pattern: Pattern) -> BinaryIO:
    return open_run(uri, lambda sizes: movie_header(sizes, pattern.suffix, pattern.fps or _USUAL))


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
