"""Titles that are made of one source whose picture changes size: its parts, copied into the store.

They are made again from the source whenever they are gone.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace

from tasks.decided import plan_decided
from tasks.errors import SizeChanges, UnsupportedSource
from tasks.media.writing.part import PART_VERSION, write_parts
from tasks.plan import Plan
from tasks.profile import Profile
from tasks.records import Revision, Title, content_key
from tasks.remembered import fingerprint_of
from tasks.scan import examine
from tasks.sources import open_source, require_unchanged
from tasks.store import Store, digest_of

_HASH = 16  # hex digits of it


def part_titles(title: Title, changes: SizeChanges, profile: Profile, store: Store) -> tuple[Title, ...]:
    """The parts of a title, named after it, with what was lost between them as remarks.

    Args:
        title: whose picture changes.
        changes: where.
        profile: decides what the masters' containers can be.
        store: where the parts are put, and looked for.

    Raises:
        SourceError, UnsupportedSource: see `write_parts`.
        SourceChanged: the source was replaced or written to since it was scanned.
        StoreError: the store does not take them.
    """
    folder = _folder_of(title, changes, store)
    lost: tuple[str, ...] = ()
    places = _places(folder, store)
    if len(places) <= len(changes.at):
        lost = _put_parts(title, changes, folder, store)
        places = _places(folder, store)
    stem, _, suffix = title.name.rpartition(".")
    titles = []
    for number, place in enumerate(places, 1):
        part = examine(f"{stem}.part{number}.{suffix}", store.uri(place), profile)
        said = f"is part {number} of {len(places)} of {title.name}, whose picture changes there"
        titles.append(replace(part, remarks=(said, *lost, *part.remarks)))
    return tuple(titles)


def is_whole_part(place: str, sha256: str) -> bool:
    """True if this is the hash of what was put there: a part's name knows it."""
    return posixpath.splitext(place)[0].endswith(f"-{sha256[:_HASH]}")


def _folder_of(title: Title, changes: SizeChanges, store: Store) -> str:
    assert title.probe is not None
    parts = {"source": fingerprint_of(title, store), "stream": title.probe.stream, "at": changes.at}
    key = content_key(parts | {"version": PART_VERSION})
    return f"parts/{key[:2]}/{key}"


def _places(folder: str, store: Store) -> list[str]:
    """The parts that are there, in order."""
    found = {int(posixpath.basename(place).partition("-")[0]): place for place in store.list(folder)}
    return [found[number] for number in sorted(found)]


def _put_parts(title: Title, changes: SizeChanges, place: str, store: Store) -> tuple[str, ...]:
    """Cut the source, which proves to be the one that was scanned; returns what could not be copied, in words."""
    assert title.probe is not None
    suffix = title.name.rpartition(".")[2]
    with store.temporary_folder() as folder, open_source(title.uri, title.name) as source:
        files = [folder / f"{number}.{suffix}" for number in range(1, len(changes.at) + 2)]
        try:
            lost = write_parts(source, title.probe.stream, changes.at, [str(file) for file in files])
        except UnsupportedSource as error:
            raise UnsupportedSource(f"{changes} {error}") from error
        require_unchanged(title)
        for file in files:
            with file.open("rb") as opened:
                digest = digest_of(opened)
            name = f"{file.stem}-{digest.sha256[:_HASH]}{file.suffix}"
            store.put_file(file, f"{place}/{name}", move=True, digest=digest)
    return lost


def plans_of(
    title: Title, profile: Profile, store: Store, output: Store, revisions: tuple[Revision, ...] = (), run: str = ""
) -> list[Plan]:
    """The plan of a title, or those of its parts; takes and raises what `plan_decided` and `part_titles` do."""
    try:
        return [plan_decided(title, profile, store, output, revisions, run).plan]
    except SizeChanges as changes:
        parts = part_titles(title, changes, profile, store)
    for part in parts:
        if part.refused:
            raise UnsupportedSource(part.refused)
    return [plan_decided(part, profile, store, output, revisions, run).plan for part in parts]
