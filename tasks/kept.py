"""What a store keeps besides segments and their records: how each kind of file proves itself, and what to do about one
that does not. Knows neither why a kind is kept nor who reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tasks.grades import Grades
from tasks.hold import Hold
from tasks.parts import Parts
from tasks.pictures import Pictures
from tasks.reading import RepeatFlags
from tasks.receipt import from_bytes
from tasks.records import MasterRecord, from_sealed
from tasks.remembered import Fingerprint
from tasks.seal import opened, opened_bytes, opened_page
from tasks.tables import (
    read_fields_table,
    read_ledger_table,
    read_shards_table,
    read_table,
    read_timeline_table,
    read_titles_table,
)

_AGAIN = "run the library again (`remaster rerun RUN`)"
_DELETE = "Delete it: it is made anew when it is needed."
_FREE = "Nobody has what it speaks of: delete it once no run goes on."
_LOST = "Restore it from a copy, or delete it: what it says is lost then, and nothing else."
_RUN = "Restore it from a copy, or start the library again with `remaster run`: what is made is not made again."
_SHARDS = f"{_RUN} Until then `remaster clean` removes nothing, as what the run needs is not known."
_HELD = f"Delete the folder it is in and {_AGAIN}: what is wrong with the master is found anew."


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        name: what such a file is, in words.
        places: their keys in a store.
        prove: raises ValueError for bytes that are not what was written.
        remedy: what to do about one that is damaged.
    """

    name: str
    places: re.Pattern[str]
    prove: Callable[[bytes], object]
    remedy: str


def kind_of(place: str) -> Kind | None:
    """What is kept under a key of a store; None for what is not known here."""
    return next((kind for kind in _KINDS if kind.places.fullmatch(place)), None)


def _kind(name: str, places: str, prove: Callable[[bytes], object], remedy: str) -> Kind:
    return Kind(name, re.compile(places), prove, remedy)


_KINDS = (
    _kind("record of a master", r"masters/.*\.json", partial(from_sealed, MasterRecord), _DELETE),
    _kind("checksums of a master's frames", r"pictures/.*\.json", partial(from_sealed, Pictures), _DELETE),
    _kind("likeness of a master", r"likeness/.*\.npz", opened_bytes, _DELETE),
    _kind("grades of a master", r"grades/.*\.json", partial(from_sealed, Grades), _DELETE),
    _kind("note of a master that stands", r"standing/.*\.json", opened, _DELETE),
    _kind("frame table", r"timelines/.*\.parquet", read_timeline_table, _DELETE),
    _kind("table of fields", r"fields/.*\.parquet", read_fields_table, _DELETE),
    _kind("count of flags", r"repeats/[0-9a-f]+", partial(from_sealed, RepeatFlags), _DELETE),
    _kind("fingerprint of a source", r"fingerprints/[0-9a-f]+", partial(from_sealed, Fingerprint), _DELETE),
    _kind("result of Prefect's", r"results/[^/]+", opened, _DELETE),
    _kind("note of a source's parts", r"parts/.*/parts\.json", partial(from_sealed, Parts), _DELETE),
    _kind("note of a master's place", r"places/[0-9a-f]+", opened, _DELETE),
    _kind("lease", r"leases/[^/]+", opened, _FREE),
    _kind("hold of a master", r"holds/.*/hold\.json", partial(from_sealed, Hold), _HELD),
    _kind("receipt of a master that waits", r"holds/.*/receipt\.json", from_bytes, _HELD),
    _kind("page of a master that waits", r"holds/.*\.html", opened_page, _HELD),
    _kind("estimates", r"estimates/.*\.parquet", read_table, _LOST),
    _kind("page of a preview", r"previews/.*\.html", opened_page, _LOST),
    _kind("table of shards of a run", r"runs/[^/]+/shards\.parquet/[^/]+", read_shards_table, _SHARDS),
    _kind("table of titles of a run", r"runs/[^/]+/titles\.parquet", read_titles_table, _RUN),
    _kind("what a run was asked", r"runs/[^/]+/run\.json", opened, _RUN),
    _kind("attempts of a run", r"runs/[^/]+/ledger\.parquet/[^/]+", read_ledger_table, _LOST),
    _kind("note of a run", r"runs/[^/]+/.*\.json", opened, _LOST),
    _kind("report of a run", r"runs/[^/]+/.*\.(html|card)", opened_page, _LOST),
)
