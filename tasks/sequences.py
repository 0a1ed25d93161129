"""Runs of numbered image files as titles: that none is missing, and how fast they are shown."""

from __future__ import annotations

from fractions import Fraction

from tasks.errors import UnsupportedSource
from tasks.media.reading.stills import rate_in_header, require_as_shown
from tasks.store import open_read
from tasks.store.sequence import Pattern, gaps, members, pattern_of, with_fps

# Files that a run of at least two of them makes a title of by itself: others, such as posters, have numbers too.
FILM_SUFFIXES = frozenset({".dpx", ".exr"})
SHORTEST = 2
_MOST_NAMED = 10


def is_title(run: Pattern, rate: Fraction | None) -> bool:
    """True if a run of files is a title: if it is of a kind made for film, or somebody says how fast it is shown."""
    return rate is not None or run.suffix.lower() in FILM_SUFFIXES


def as_film(uri: str, name: str, rate: Fraction | None) -> tuple[str, tuple[str, ...]]:
    """The URI of a run of files with its rate, and remarks on that.

    Args:
        uri: of the run.
        name: of the title.
        rate: pictures a second; None: as the first file's header says.

    Raises:
        UnsupportedSource: numbers are missing, nobody says how fast the files are shown, or the first one would be read
            otherwise than it is shown.
    """
    files, pattern = members(uri), pattern_of(uri)
    assert pattern is not None
    missing = gaps([member.number for member in files])
    if missing:
        stretches = [f"{a}" if a == b else f"{a} to {b}" for a, b in missing[:_MOST_NAMED]]
        more = f" and {len(missing) - _MOST_NAMED} more gaps" if len(missing) > _MOST_NAMED else ""
        count = sum(b - a + 1 for a, b in missing)
        raise UnsupportedSource(
            f"{name}: {count} of its files are missing between {files[0].number} and {files[-1].number}:"
            f" {', '.join(stretches)}{more}. Add them, or put each unbroken run in a folder of its own."
        )
    said = _said(files[0].uri, pattern, name)
    if rate is None and said is None:
        raise UnsupportedSource(
            f"{name}: its header does not say how many pictures a second it has. Say it: `--fps 24`, or `sequence.fps`"
            " in the profile."
        )
    remarks: tuple[str, ...] = ()
    if rate is not None and said is not None and rate != said:
        remarks = (f"is shown at {rate} pictures a second as asked; its header says {said}",)
    return with_fps(uri, rate or said), remarks


def _said(uri: str, pattern: Pattern, name: str) -> Fraction | None:
    if pattern.suffix.lower() not in FILM_SUFFIXES:
        return None
    with open_read(uri) as file:
        data = file.read()
    require_as_shown(data, name)
    return rate_in_header(data)
