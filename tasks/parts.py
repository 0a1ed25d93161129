"""Titles that are made of one source whose picture changes size: its parts, copied into the store.

They are made again from the source whenever they are gone, or not what was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tasks.decided import plan_decided
from tasks.errors import SizeChanges, UnsupportedSource
from tasks.media.writing.part import PART_VERSION, write_parts
from tasks.plan import Plan
from tasks.profile import Profile
from tasks.records import Revision, Title, content_key, from_sealed, to_sealed
from tasks.remembered import fingerprint_of
from tasks.scan import examine
from tasks.sources import open_source, require_unchanged
from tasks.store import Digest, Store, digest_of

_NUMBERED = re.compile(r"\.part\d+(\.\w+)$")


@dataclass(frozen=True)
class Parts:
    """What a source was cut into.

    Attributes:
        files: SHA-256 and size of each part, in order.
        picture: index of the picture in each.
        lost: what of the source is in none, in words.
    """

    files: tuple[tuple[str, int], ...]
    picture: int
    lost: tuple[str, ...]


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
    folder, suffix = _folder_of(title, changes, store), title.name.rpartition(".")[2]
    parts = _known(folder, suffix, store) or _put(title, changes, folder, store, profile)
    same = profile.model_copy(update={"video_stream": parts.picture})
    titles = []
    for number in range(1, len(parts.files) + 1):
        part = examine(part_name(title.name, number), store.uri(_place(folder, number, suffix)), same)
        said = f"is part {number} of {len(parts.files)} of {title.name}, whose picture changes there"
        titles.append(replace(part, remarks=(said, *parts.lost, *part.remarks)))
    return tuple(titles)


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


def part_name(title: str, number: int) -> str:
    """The name of a part of a title, counted from 1."""
    stem, _, suffix = title.rpartition(".")
    return f"{stem}.part{number}.{suffix}"


def whole_of(name: str) -> str:
    """The name of the title that one of such a name would be a part of; itself if it is not named like one."""
    return _NUMBERED.sub(r"\1", name)


def wrong_with_part(place: str, store: Store) -> str | None:
    """What is wrong with a part in the store, empty for nothing; None if nobody noted what it should be."""
    folder, _, leaf = place.rpartition("/")
    try:
        sha256, size = from_sealed(Parts, store.read(f"{folder}/parts.json")).files[int(leaf.partition(".")[0]) - 1]
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return "" if store.matches(place, Digest(sha256, size)) else "its bytes have changed"


def _folder_of(title: Title, changes: SizeChanges, store: Store) -> str:
    assert title.probe is not None
    parts = {"source": fingerprint_of(title, store), "stream": title.probe.stream, "at": changes.at}
    key = content_key(parts | {"version": PART_VERSION, "suffix": title.name.rpartition(".")[2]})
    return f"parts/{key[:2]}/{key}"


def _place(folder: str, number: int, suffix: str) -> str:
    return f"{folder}/{number}.{suffix}"


def _known(folder: str, suffix: str, store: Store) -> Parts | None:
    """What is there, if all of it is what was written."""
    try:
        parts = from_sealed(Parts, store.read(f"{folder}/parts.json"))
    except (FileNotFoundError, ValueError):
        return None
    digests = [(_place(folder, number, suffix), Digest(*file)) for number, file in enumerate(parts.files, 1)]
    return parts if all(store.matches(place, digest) for place, digest in digests) else None


def _put(title: Title, changes: SizeChanges, folder: str, store: Store, profile: Profile) -> Parts:
    """Cut the source, which proves to be the one that was scanned. Parts that are there stay as they are."""
    assert title.probe is not None
    suffix, count = title.name.rpartition(".")[2], len(changes.at) + 1
    with store.temporary_folder() as scratch, open_source(title.uri, title.name) as source:
        files = [scratch / f"{number}.{suffix}" for number in range(1, count + 1)]
        try:
            places, without = [str(file) for file in files], profile.master.without
            copies = write_parts(source, title.probe.stream, changes.at, places, without)
        except UnsupportedSource as error:
            raise UnsupportedSource(f"{changes} {error}") from error
        require_unchanged(title)
        made = []
        for number, file in enumerate(files, 1):
            place = _place(folder, number, suffix)
            with file.open("rb") as opened:
                digest = digest_of(opened)
            if not store.matches(place, digest):  # another run may be reading it
                store.put_file(file, place, move=True, digest=digest)
            made.append((digest.sha256, digest.size))
    parts = Parts(tuple(made), copies.picture, copies.lost)
    store.write(f"{folder}/parts.json", to_sealed(parts))
    return parts
