"""What a master's frames look like: a checksum of each, and its likeness to the source's. Both from one decode.

Taken once and kept in the store under the master's hash, as decoding it takes time.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass

import numpy as np

from tasks.media.cadence.read import read_pictures, window
from tasks.media.contract.likeness import LIKENESS_VERSION, Comparison, Likeness
from tasks.media.picture.bars import Bars, cut_off
from tasks.media.picture.hdr import as_sdr
from tasks.media.reading.checksums import frame_checksums
from tasks.media.reading.source import Source
from tasks.plan import Plan
from tasks.records import MasterRecord, from_sealed, to_sealed
from tasks.seal import opened_bytes, sealed_bytes
from tasks.sources import open_source
from tasks.store import Store


@dataclass(frozen=True)
class Pictures:
    """What a master's frames look like.

    Attributes:
        sha256: of the master.
        checksums: see `tasks.media.reading.checksums`.
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


def watch_master(made: Source, picture: int, plan: Plan) -> tuple[tuple[str, ...], Likeness]:
    """Checksums of a master's frames and their likeness to the source's.

    Raises:
        SourceError: master or source cannot be decoded to the end.
        SourceChanged: the source is not the one that was planned any more.
    """
    probe = plan.title.probe
    assert probe is not None
    left_out = Bars() if plan.restored else plan.bars
    with open_source(plan.title.uri, plan.title.name) as source:
        pictures = plan.reading.pictures
        frames = window(plan.timeline, *pictures.frames(0, len(pictures), len(plan.timeline)))
        recipe = pictures.recipe(0, len(pictures))
        shown = (
            cut_off(planes, probe.layout, left_out)
            for planes in read_pictures(source, probe.stream, probe.layout, frames, recipe)
        )
        tone = plan.hdr.tone if plan.hdr else None
        comparison = Comparison(*as_sdr(shown, probe.layout, probe.colour, tone), plan.colour)
        checksums = frame_checksums(made, picture, comparison.add)
    return checksums, comparison.finish()


def keep_likeness(sha256: str, likeness: Likeness, store: Store) -> None:
    """Keep the likeness of a master that has this hash."""
    with io.BytesIO() as file:
        np.savez_compressed(file, allow_pickle=False, **asdict(likeness))
        store.write(_likeness_place(sha256), sealed_bytes(file.getvalue()))


def likeness_of(master: MasterRecord, plan: Plan, store: Store) -> Likeness:
    """The likeness of a published master: what is kept, or measured afresh if that is gone or damaged.

    Raises:
        SourceError, SourceChanged: see `watch_master`.
    """
    found = kept_likeness(master.sha256, store)
    if found is None:
        with open_source(master.uri, f"master {master.uri}") as made:
            _, found = watch_master(made, master.picture, plan)
        keep_likeness(master.sha256, found, store)
    return found


def kept_likeness(sha256: str, store: Store) -> Likeness | None:
    """The likeness of a master that has this hash, if it was measured and is kept."""
    try:
        table = opened_bytes(store.read(_likeness_place(sha256)))
    except (FileNotFoundError, ValueError):
        return None
    with np.load(io.BytesIO(table), allow_pickle=False) as arrays:
        return Likeness(**arrays)


def _kept(sha256: str, store: Store) -> tuple[str, ...] | None:
    try:
        found = from_sealed(Pictures, store.read(_place(sha256)))
    except (FileNotFoundError, ValueError):
        return None
    return found.checksums if found.sha256 == sha256 else None


def _likeness_place(sha256: str) -> str:
    return f"likeness/{sha256[:2]}/{sha256}-{LIKENESS_VERSION}.npz"


def _place(sha256: str) -> str:
    return f"pictures/{sha256[:2]}/{sha256}.json"
