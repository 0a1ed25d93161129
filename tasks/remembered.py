"""What is remembered of a source, so that a big file is hashed once and decoded for planning once.

A fingerprint is filed by place, size and stamp, a frame table by fingerprint. One that does not prove itself is made
anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.media.picture.hdr import is_hdr
from tasks.media.reading.limits import Limits
from tasks.media.reading.timeline import TIMELINE_VERSION, Timeline, read_timeline
from tasks.records import Title, content_key, from_sealed, to_sealed
from tasks.sources import open_source, require_unchanged
from tasks.store import Store, fingerprint
from tasks.tables import read_timeline_table, timeline_table


@dataclass(frozen=True)
class Fingerprint:
    """Of a source's content: BLAKE2b-256, 64 hex digits."""

    blake2b: str


def fingerprint_of(title: Title, store: Store) -> str:
    """The fingerprint of a title's source.

    Raises:
        SourceChanged: it was replaced or written to since it was scanned.
    """
    place = f"fingerprints/{content_key({'uri': title.uri, 'size': title.size, 'stamp': title.stamp})}"
    try:
        return from_sealed(Fingerprint, store.read(place)).blake2b
    except (FileNotFoundError, ValueError):
        found = fingerprint(title.uri)
        require_unchanged(title)
        store.write(place, to_sealed(Fingerprint(found)))
        return found


def timeline_of(title: Title, source_print: str, store: Store, limits: Limits) -> Timeline:
    """The frame table of a title whose source has this fingerprint.

    Raises:
        SourceError, UnsupportedSource: see `read_timeline`.
        SourceChanged: the source was replaced or written to since it was scanned.
    """
    assert title.probe is not None
    parts = {"source": source_print, "stream": title.probe.stream, "version": TIMELINE_VERSION}
    if title.probe.codec == "exr":
        parts["header"] = "read"  # older tables say nothing of what else is in the files
    key = content_key(parts)
    place = f"timelines/{key}.parquet"
    try:
        return read_timeline_table(store.read(place))
    except (FileNotFoundError, ValueError):
        with open_source(title.uri, title.name) as source:
            colour = title.probe.colour
            timeline = read_timeline(source, title.probe.stream, limits, colour if is_hdr(colour) else None)
        # Or the new bytes' table would be filed under the old bytes' name, for good.
        require_unchanged(title)
        store.write(place, timeline_table(timeline))
        return timeline
