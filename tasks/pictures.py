"""Checksums of a master's frames, taken once: kept in the store under the master's hash, as decoding it takes time."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.media.checksums import frame_checksums
from tasks.records import MasterRecord, from_sealed, to_sealed
from tasks.sources import open_source
from tasks.store import Store


@dataclass(frozen=True)
class Pictures:
    """What a master's frames look like.

    Attributes:
        sha256: of the master.
        checksums: see `tasks.media.checksums`.
    """

    sha256: str
    checksums: tuple[str, ...]


def keep_pictures(sha256: str, checksums: tuple[str, ...], store: Store) -> None:
    """Keep the checksums of a master that has this hash."""
    store.write(_place(sha256), to_sealed(Pictures(sha256, checksums)))


def pictures_of(master: MasterRecord, store: Store) -> tuple[str, ...]:
    """The checksums of a published master: those that are kept, or fresh ones if these are gone or damaged.

    Raises:
        SourceError: it cannot be decoded.
    """
    found = _kept(master.sha256, store)
    if found is None:
        with open_source(master.uri, f"master {master.uri}") as source:
            found = frame_checksums(source, master.picture)
        keep_pictures(master.sha256, found, store)
    return found


def _kept(sha256: str, store: Store) -> tuple[str, ...] | None:
    try:
        found = from_sealed(Pictures, store.read(_place(sha256)))
    except (FileNotFoundError, ValueError):
        return None
    return found.checksums if found.sha256 == sha256 else None


def _place(sha256: str) -> str:
    return f"pictures/{sha256[:2]}/{sha256}.json"
