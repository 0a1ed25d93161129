"""The product's Parquet tables: their schemas, and rows to tables and back. Knows no store and no Prefect.

titles    one row a file of the library          runs/RUN/titles.parquet
shards    one row a shard                        runs/RUN/shards.parquet/  (one file a title)
ledger    one row an attempt of a shard          runs/RUN/ledger.parquet/  (files as the run goes on)
timeline  one row a frame of a title             timelines/KEY.parquet
fields    the same, what its fields look like    fields/KEY.parquet
estimates one row a title, and one for all       estimates/ID.parquet

A folder of files with one schema is one table to any Parquet tool. Column units are in docs/tables.md. Every file
proves itself (`tasks.seal`); the older ones that do not are read where nothing else can say what they do.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.media.cadence.fields import Fields
from tasks.media.reading.probe import Probe
from tasks.media.reading.timeline import Timeline
from tasks.records import CadenceNote, Shard, Title, from_json, to_json
from tasks.seal import TABLE_SEAL, UNSEALED, is_sealed_table, opened_table, sealed_table

_ROWS = b"remaster.rows"  # in the metadata of older tables of shards: the hash of their rows
TITLES = pa.schema(
    [
        ("name", pa.string()),
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("stamp", pa.string()),
        ("container", pa.string()),
        ("refused", pa.string()),
        ("left", pa.string()),
        ("remarks", pa.list_(pa.string())),
        ("master", pa.string()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("pix_fmt", pa.string()),
        ("frame_rate", pa.float64()),
        ("duration", pa.float64()),
        ("probe", pa.string()),
        ("cadence", pa.string()),
        ("treatment", pa.string()),
        ("parts", pa.list_(pa.string())),
        ("pictures", pa.int64()),
        ("evidence", pa.map_(pa.string(), pa.int64())),
        ("doubts", pa.list_(pa.string())),
    ]
)
SHARDS = pa.schema(
    [
        ("title", pa.dictionary(pa.int32(), pa.string())),
        ("index", pa.int32()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("warm_up", pa.int32()),
        ("look_ahead", pa.int32()),
        ("cut", pa.dictionary(pa.int32(), pa.string())),
        ("first_pts", pa.int64()),
        ("last_pts", pa.int64()),
        ("seek_pts", pa.int64()),
        ("cost", pa.float64()),
        ("key", pa.string()),
    ]
)
LEDGER = pa.schema(
    [
        ("began", pa.timestamp("us", tz="UTC")),
        ("time", pa.timestamp("us", tz="UTC")),
        ("title", pa.string()),
        ("index", pa.int32()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("key", pa.string()),
        ("attempt", pa.int32()),
        ("outcome", pa.string()),
        ("error", pa.string()),
        ("message", pa.string()),
        ("driver", pa.string()),
        ("worker", pa.string()),
        ("rung", pa.int32()),
        ("made", pa.string()),
        ("seconds", pa.float64()),
        ("frames", pa.int64()),
        ("bytes", pa.int64()),
        ("fidelity", pa.float64()),
    ]
)
TIMELINE = pa.schema(
    [
        ("pts", pa.int64()),
        ("duration", pa.int64()),
        ("checksum", pa.uint32()),
        ("key", pa.bool_()),
        ("scene", pa.float32()),
        ("flagged", pa.bool_()),
        ("fields", pa.uint8()),
        ("captions", pa.bool_()),
        ("black", pa.list_(pa.int32(), 4)),
        ("peak", pa.float32()),
        ("said", pa.int64()),
        ("damage", pa.uint8()),
    ]
)
FIELDS = pa.schema([("own", pa.float32()), ("top", pa.float32()), ("bottom", pa.float32()), ("repeats", pa.bool_())])
ESTIMATES = pa.schema(
    [
        ("title", pa.string()),
        ("refused", pa.string()),
        ("frames", pa.int64()),
        ("shards", pa.int64()),
        ("cached", pa.int64()),
        ("sampled", pa.int64()),
        ("gpu_hours", pa.float64()),
        ("store_bytes", pa.int64()),
        ("master_bytes", pa.int64()),
        ("price", pa.float64()),
        ("workers", pa.int32()),
        ("hours", pa.float64()),
    ]
)


@dataclass(frozen=True)
class LedgerRow:
    """One attempt of a shard, or a cache hit.

    Attributes:
        time: when it ended, seconds since the epoch; `began`: when a worker had it in hand, 0 if none ever had.
        outcome: "done", "cached" or "failed"; or "begun", of one whose end is not noted: nothing is known then of what
            comes after `worker`, and `time` is when that was noted.
        error: class of the error, empty if none; `message` is its text.
        driver: process that asked for it, as host:process.
        worker: who had it in hand, as host:process:device; empty for a cache hit.
        rung: step of the degrade ladder; `made` says in words what was not as asked.
        seconds: wall time in the worker; of a failed attempt, until the failure was known.
        frames: in the segment; of a failed attempt, those written before it failed.
        bytes: size of the segment.
        fidelity: dB, see `records.Record`.
    """

    time: float
    title: str
    index: int
    start: int
    stop: int
    key: str
    attempt: int
    outcome: str
    error: str = ""
    message: str = ""
    began: float = 0.0
    driver: str = ""
    worker: str = ""
    rung: int = 0
    made: str = ""
    seconds: float = 0.0
    frames: int = 0
    bytes: int = 0
    fidelity: float = float("nan")


def titles_table(
    titles: Iterable[Title],
    notes: Mapping[str, CadenceNote] = MappingProxyType({}),
    doubts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> bytes:
    """Titles as Parquet, with what is known of their cadences and of how far they can be trusted, by name."""
    rows = []
    for title in titles:
        probe, note = title.probe, notes.get(title.name)
        rows.append(
            {
                "name": title.name,
                "uri": title.uri,
                "size": title.size,
                "stamp": title.stamp,
                "container": title.container,
                "refused": title.refused,
                "left": title.left,
                "remarks": list(title.remarks),
                "master": title.master if not (title.refused or title.left) else "",
                "codec": probe.codec if probe else "",
                "width": probe.width if probe else 0,
                "height": probe.height if probe else 0,
                "pix_fmt": probe.pix_fmt if probe else "",
                "frame_rate": float(probe.frame_rate) if probe else 0.0,
                "duration": probe.duration if probe else 0.0,
                "probe": to_json(probe).decode() if probe else "",
                "cadence": note.cadence if note else "",
                "treatment": note.treatment if note else "",
                "parts": list(note.parts) if note else [],
                "pictures": note.pictures if note else 0,
                "evidence": list(note.evidence.items()) if note else [],
                "doubts": list(doubts.get(title.name, ())),
            }
        )
    return _parquet(pa.Table.from_pylist(rows, TITLES))


def read_titles_table(data: bytes, name: str = "") -> list[Title]:
    """Titles from Parquet: all, or only the one called `name`.

    Raises:
        ValueError: it is not what was written.
    """
    table = read_table(data)
    if name:
        table = table.filter(pc.equal(table["name"], name))
    return [
        Title(
            name=row["name"],
            uri=row["uri"],
            size=row["size"],
            stamp=row["stamp"],
            probe=from_json(Probe, row["probe"]) if row["probe"] else None,
            container=row["container"],
            refused=row["refused"],
            left=row.get("left", ""),
            remarks=tuple(row["remarks"]),
        )
        for row in table.to_pylist()
    ]


def shards_table(shards: Sequence[Shard]) -> bytes:
    """Shards as Parquet."""
    columns = {f.name: [getattr(shard, f.name) for shard in shards] for f in fields(Shard)}
    return _parquet(pa.table(columns, SHARDS))


def read_shards_table(data: bytes) -> list[Shard]:
    """Shards from Parquet.

    Raises:
        ValueError: it is not what was written.
    """
    table = read_table(data)
    columns = table.to_pydict()
    # A key with a changed letter would set another segment free to be cleaned away.
    if not is_sealed_table(data) and (table.schema.metadata or {}).get(_ROWS) != _hash_of(columns):
        raise ValueError("its rows are not those that were written")
    return [Shard(*row) for row in zip(*(columns[f.name] for f in fields(Shard)), strict=True)]


def _hash_of(columns: dict[str, list[Any]]) -> bytes:
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest().encode()


def ledger_table(rows: Iterable[LedgerRow]) -> bytes:
    """Ledger rows as Parquet."""
    plain: list[dict[str, Any]] = []
    for row in rows:
        entry = asdict(row)
        entry["time"] = int(row.time * 1e6)
        entry["began"] = int(row.began * 1e6) if row.began else None
        plain.append(entry)
    return _parquet(pa.Table.from_pylist(plain, LEDGER))


def read_ledger_table(data: bytes) -> list[LedgerRow]:
    """Ledger rows from Parquet.

    Raises:
        ValueError: it is not what was written.
    """
    rows = read_table(data).to_pylist()
    return [LedgerRow(**(row | _moments(row))) for row in rows]


def _moments(row: dict[str, Any]) -> dict[str, float]:
    began = row.get("began")  # which older tables do not say
    return {"time": row["time"].timestamp(), "began": began.timestamp() if began else 0.0}


def timeline_table(timeline: Timeline) -> bytes:
    """A frame table as Parquet."""
    columns = {f.name: getattr(timeline, f.name) for f in fields(Timeline)}
    black = pa.FixedSizeListArray.from_arrays(pa.array(timeline.black.ravel()), 4)
    return _parquet(pa.table({**columns, "black": black}, TIMELINE))


def read_timeline_table(data: bytes) -> Timeline:
    """A frame table from Parquet.

    Raises:
        ValueError: nothing proves that it is what was written.
    """
    table = _read_proven(data)
    names = [f.name for f in fields(Timeline) if f.name != "black"]
    columns: dict[str, Any] = {name: np.ascontiguousarray(table[name].to_numpy()) for name in names}
    black = table["black"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
    return Timeline(**columns, black=np.ascontiguousarray(black))


def fields_table(table: Fields) -> bytes:
    """A table of fields as Parquet."""
    return _parquet(pa.table({f.name: getattr(table, f.name) for f in fields(Fields)}, FIELDS))


def read_fields_table(data: bytes) -> Fields:
    """A table of fields from Parquet.

    Raises:
        ValueError: nothing proves that it is what was written.
    """
    table = _read_proven(data)
    return Fields(**{f.name: np.ascontiguousarray(table[f.name].to_numpy()) for f in fields(Fields)})


def estimates_table(rows: Iterable[dict[str, Any]]) -> bytes:
    """Estimates as Parquet."""
    return _parquet(pa.Table.from_pylist(list(rows), ESTIMATES))


def read_table(data: bytes) -> pa.Table:
    """A table of any kind; an older one may have no seal.

    It is read in this thread alone: Arrow's own let go of what they read after the table is returned, and one that does
    it while Python ends takes the whole process down with SIGABRT (apache/arrow, 34314 and 50482).

    Raises:
        ValueError: it is not what was written.
    """
    try:
        source = pa.BufferReader(opened_table(data))
        return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"is no Parquet file that can be read: {error}") from error


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({TABLE_SEAL: UNSEALED})
    return sealed_table(buffer.getvalue())


def _read_proven(data: bytes) -> pa.Table:
    """The same of what can be made again: an older one, which does not prove itself, is not worth a doubt."""
    if not is_sealed_table(data):
        raise ValueError("has no seal")
    return read_table(data)
