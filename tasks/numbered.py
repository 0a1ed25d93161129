"""A title's master in numbered files: what they are called, and what is carried over from the source's own files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av

from tasks.media.reading.side_data import first_side_data
from tasks.media.reading.source import Source
from tasks.media.writing.carry import Copied
from tasks.media.writing.codecs import EncodeSettings
from tasks.media.writing.held import holds_icc
from tasks.media.writing.master import ALONE, Contents
from tasks.media.writing.numbered import WITH_HEADERS, Header, read_header, write_files
from tasks.plan import Plan
from tasks.records import Title
from tasks.store import is_remote, open_read
from tasks.store.sequence import Member, members, pattern_of

# Kinds of files whose headers OpenImageIO tells.
_TOLD = (".dpx", ".exr", ".tif", ".tiff")


def write_numbered(
    pattern: str, plan: Plan, settings: EncodeSettings, frames: Iterable[av.VideoFrame], opened: Source
) -> Contents:
    """Write a title's finished frames as the files of a pattern, numbered as the source's are, or from 0.

    Args:
        pattern: in a local folder.
        plan: of the title.
        settings: of a codec of still pictures.
        frames: in order.
        opened: the title's source.

    Raises:
        OSError: the disk is full or not writable.
        UsageError: OpenImageIO is needed, and not installed.
        SourceError: a header of the source cannot be read.
    """
    title, probe, run, fps = plan.title, plan.title.probe, pattern_of(pattern), frame_rate(plan)
    assert probe is not None and run is not None
    source, first = _files(title), first_number(title)
    headers = _headers(plan, source) if source and settings.codec in WITH_HEADERS else None
    holds = holds_icc(title.container, probe, plan.layout.family)
    icc = first_side_data(opened, probe.stream).standing["ICC_PROFILE"] if holds else b""
    if headers and not holds:
        headers = (tuple(each for each in header if not each[0].startswith("ICCProfile")) for header in headers)
    write_files(
        lambda frame: run.name(first + frame), settings, plan.layout, plan.colour, plan.sample_aspect, fps, frames,
        headers, icc,
    )  # fmt: skip
    others = [stream for stream in probe.streams if stream.index != probe.stream]
    return Contents(0, tuple(Copied(each.index, -1, each.type, each.codec, 0, "", ALONE) for each in others))


def first_number(title: Title) -> int:
    """Of the files of a title's master."""
    files = _files(title)
    return files[0].number if files else 0


def _files(title: Title) -> tuple[Member, ...]:
    return members(title.uri) if pattern_of(title.uri) else ()


def frame_rate(plan: Plan) -> Fraction:
    """At how many pictures a second numbered files are shown: files have no times of their own."""
    return plan.rate or Fraction(24)


def _headers(plan: Plan, source: Sequence[Member]) -> Iterator[Header]:
    """For each picture what the file says that it was made of."""
    for index in plan.reading.pictures.base.tolist():
        member = source[index]
        name = member.uri.rpartition("/")[2]
        if not name.lower().endswith(_TOLD):
            yield ()
        elif is_remote(member.uri):
            with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as copy, open_read(member.uri) as file:
                copy.write(file.read())
                copy.flush()
                yield read_header(copy.name, name)
        else:
            yield read_header(member.uri, name)
