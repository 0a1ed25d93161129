"""Opening what a URI names for PyAV, as a path or by ranged reads; and telling whether it is still the same.

A run of numbered image files is opened as the film that they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO

from tasks.errors import SourceChanged, SourceError
from tasks.media.reading.movie import movie_header
from tasks.media.reading.source import Source
from tasks.media.reading.stills import is_whole
from tasks.records import Title
from tasks.store import is_remote, open_read, stat
from tasks.store.sequence import Pattern, members, open_run, pattern_of

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
    if pattern is not None:
        with _open_film(uri, pattern) as film, _naming_torn_files(uri, label):
            yield Source(film, label)
    elif is_remote(uri):
        with open_read(uri) as file:
            yield Source(file, label)
    else:
        yield Source(uri, label)


def _open_film(uri: str, pattern: Pattern) -> BinaryIO:
    return open_run(uri, lambda sizes: movie_header(sizes, pattern.suffix, pattern.fps or _USUAL))


@contextmanager
def _naming_torn_files(uri: str, label: str) -> Iterator[None]:
    """A film that cannot be decoded says when it breaks off; which file that is, is to be found out."""
    try:
        yield
    except SourceError as error:
        for member in members(uri):
            with open_read(member.uri) as file:
                whole = is_whole(file.read())
            if not whole:
                name = member.uri.rpartition("/")[2]
                raise SourceError(
                    f"{label}: {name} is damaged: it cannot be decoded to its end. Render or fetch it again, then run"
                    " again."
                ) from error
        raise


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
