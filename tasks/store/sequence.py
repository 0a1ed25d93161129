"""Numbered files as one: how such a run is called, which files are in it, and reading them end to end as one file.

A run of `shot/plate.1001.dpx`, `shot/plate.1002.dpx`, ... is called `shot/plate.%04d.dpx`, as FFmpeg calls it; numbers
that are not padded are `%d`. How fast the files are shown may follow, as `#fps=24000:1001`. Which files there are says
the folder, each time it is asked. Knows names and bytes, not what is in the files.
"""

from __future__ import annotations

import hashlib
import io
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

from tasks.errors import SourceChanged
from tasks.store.backend import backend
from tasks.store.digest import Digest, digest_of

# Only files of these kinds are counted: a video's name may end in a number too.
IMAGE_SUFFIXES = frozenset({".dpx", ".exr", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
_PATTERN = re.compile(
    r"(?P<start>(?s:.*/)?[^/]*)%(?:0(?P<digits>[1-9]\d*))?d(?P<suffix>\.\w+)(?:#fps=(?P<over>\d+):(?P<under>[1-9]\d*))?"
)
_NUMBERED = re.compile(r"(?P<start>(?s:.*?))(?P<number>\d+)(?P<suffix>\.\w+)")


@dataclass(frozen=True)
class Pattern:
    """How numbered files are called.

    Attributes:
        start: all that comes before the number, folders included.
        digits: to which a number is padded with zeros; 1: it is not.
        suffix: all that comes after it.
        fps: pictures a second, if known.
    """

    start: str
    digits: int
    suffix: str
    fps: Fraction | None = None

    def __str__(self) -> str:
        rate = f"#fps={self.fps.numerator}:{self.fps.denominator}" if self.fps else ""
        return f"{self.start}%{f'0{self.digits}' if self.digits > 1 else ''}d{self.suffix}{rate}"

    @property
    def folder(self) -> str:
        """The folder that the files are in; empty if that is not said."""
        return self.start.rpartition("/")[0]

    @property
    def stem(self) -> str:
        """What a person calls it: the name without number and ending, or the folder's if that is all there is."""
        leaf = self.start.rpartition("/")[2].rstrip("._- ")
        return leaf or self.folder.rpartition("/")[2] or "sequence"

    def name(self, number: int) -> str:
        """The file of a number."""
        return f"{self.start}{number:0{self.digits}d}{self.suffix}"

    def number(self, name: str) -> int | None:
        """The number of a file, None for one that is not of this run."""
        middle = name[len(self.start) : len(name) - len(self.suffix)]
        if not (name.startswith(self.start) and name.endswith(self.suffix) and re.fullmatch(r"[0-9]+", middle)):
            return None
        return int(middle) if self.name(int(middle)) == name else None


@dataclass(frozen=True)
class Member:
    """One of the files: its number, URI, bytes, stamp, and when the storage last saw it change."""

    number: int
    uri: str
    size: int
    stamp: str
    changed: float


def pattern_of(name: str) -> Pattern | None:
    """The pattern that a name or URI is, None if it is that of one file."""
    match = _PATTERN.fullmatch(name)
    if match is None or match["suffix"].lower() not in IMAGE_SUFFIXES:
        return None
    fps = Fraction(int(match["over"]), int(match["under"])) if match["over"] else None
    return Pattern(match["start"], int(match["digits"] or 1), match["suffix"], fps or None)


def with_fps(uri: str, fps: Fraction | None) -> str:
    """The URI of a run of files with this many pictures a second, or none said."""
    pattern = pattern_of(uri)
    return str(replace(pattern, fps=fps)) if pattern else uri


def runs_in(names: Iterable[str], shortest: int) -> list[Pattern]:
    """The runs of at least so many numbered files among names of files, in order of name."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is not None and match["suffix"].lower() in IMAGE_SUFFIXES:
            found[match["start"], match["suffix"]].append(match["number"])
    runs = [
        Pattern(start, width, suffix)
        for (start, suffix), numbers in found.items()
        for width in _widths(numbers, shortest)
    ]
    return sorted(runs, key=str)


def _widths(numbers: list[str], shortest: int) -> list[int]:
    """To how many digits these are padded: one width if one fits all, else one for each length that is often enough."""
    width = min(map(len, numbers))
    if all(f"{int(number):0{width}d}" == number for number in numbers):
        return [width] if len(numbers) >= shortest else []
    lengths = [len(number) for number in numbers]
    return [width for width in sorted(set(lengths)) if lengths.count(width) >= shortest]


def members(uri: str) -> tuple[Member, ...]:
    """The files of a run, in order of number. Raises FileNotFoundError if there is none, or one leads nowhere."""
    pattern = pattern_of(uri)
    assert pattern is not None
    folder, own = pattern.folder, replace(pattern, start=pattern.start.rpartition("/")[2])
    found = []
    for name, state in backend(folder).stat_folder(folder, lambda name: own.number(name) is not None).items():
        number = own.number(name)
        assert number is not None
        found.append(Member(number, f"{folder}/{name}", *state))
    if not found:
        raise FileNotFoundError(uri)
    return tuple(sorted(found, key=lambda member: member.number))


def gaps(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each stretch of numbers that is missing between the first and the last."""
    return [(a + 1, b - 1) for a, b in pairwise(numbers) if b > a + 1]


def stat(uri: str) -> tuple[int, str]:
    """Bytes of all files together, and a stamp that is another one when any of them is, or their number."""
    files = members(uri)
    digest = hashlib.blake2b(digest_size=16)
    for member in files:
        digest.update(f"{member.number} {member.size} {member.stamp}\n".encode())
    return sum(member.size for member in files), digest.hexdigest()


def last_change(uri: str) -> float:
    """When the storage last saw one of the files change, in seconds since the epoch."""
    return max(member.changed for member in members(uri))


def fingerprint(uri: str) -> str:
    """BLAKE2b-256 over the files' own, their order and how fast they are shown; see `tasks.store.fingerprint`."""
    pattern = pattern_of(uri)
    assert pattern is not None
    whole = hashlib.blake2b(f"{pattern.fps}\n".encode(), digest_size=32)
    for member in members(uri):
        whole.update(hashlib.blake2b(backend(member.uri).read(member.uri), digest_size=32).digest())
    return whole.hexdigest()


def open_read(uri: str) -> BinaryIO:
    """All files, one after the other, as one."""
    return open_run(uri, lambda sizes: b"")


def open_run(uri: str, header: Callable[[Sequence[int]], bytes]) -> BinaryIO:
    """The same after a header, which is made from the sizes of all files."""
    files = members(uri)
    return cast(BinaryIO, _Chain(header([member.size for member in files]), files))


def put_file(source: Path, uri: str, *, move: bool, digest: Digest | None, commit: Callable[[], None]) -> Digest:
    """Make or replace a run of files from a local one, file by file, and remove what else is in the run.

    Every file appears whole, all together they do not: who needs to know that all are there writes something last.
    """
    old, new = pattern_of(str(source)), pattern_of(uri)
    assert old is not None and new is not None
    files = members(str(source))
    sha256, kept = hashlib.sha256(), set()
    for member in files:
        place = new.name(member.number)
        data = Path(member.uri).read_bytes()
        sha256.update(data)
        own = digest_of(io.BytesIO(data))
        backend(place).put_file(Path(member.uri), place, move=move, digest=own, commit=commit)
        kept.add(member.number)
    commit()
    for member in members(uri):
        if member.number not in kept:
            backend(member.uri).delete(member.uri)
    return Digest(sha256.hexdigest(), sum(member.size for member in files))


class _Chain(io.RawIOBase):
    """Bytes and files that lie one after the other, read as one; the file last read is kept in memory."""

    def __init__(self, before: bytes, files: Sequence[Member]) -> None:
        self._before, self._files = before, files
        self._starts = [len(before)]
        for member in files:
            self._starts.append(self._starts[-1] + member.size)
        self._position = 0
        self._held: tuple[int, bytes] = (-1, before)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._position < self._starts[-1]:
            start, data = self._around(self._position)
            piece = memoryview(data)[self._position - start :][: len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def _around(self, position: int) -> tuple[int, bytes]:
        """Where the piece begins that holds a position, and its bytes."""
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return 0, self._before
        if self._held[0] != index:
            member = self._files[index]
            data = backend(member.uri).read(member.uri)
            if len(data) != member.size:
                raise SourceChanged(f"{member.uri} has {len(data)} bytes now, and had {member.size}: run again.")
            self._held = (index, data)
        return self._starts[index], self._held[1]
