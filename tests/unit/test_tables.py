"""Tables and records come back as they went, and any Parquet tool reads them."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.run import Outcome, RunFiles
from tasks import tables
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import Timeline, read_timeline
from tasks.plan import plan_title
from tasks.profile import Profile, read_profile
from tasks.records import CadenceNote, MasterRecord, Record, Shard, Title, Work, content_key, from_json, to_json
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = Clip(frames=20, rate=Fraction(30000, 1001), subtitle=True, rotation=90, sample_aspect=Fraction(16, 15))
    return make(tmp_path_factory.mktemp("film") / "a title.mp4", clip)


@pytest.fixture(scope="module")
def titles(film: Path) -> list[Title]:
    found = scan(str(film), str(film.parent / "out"), Profile())
    return [*found, Title(name="bad\nname.mkv", uri="s3://b/bad", size=0, stamp="x", refused="is empty")]


def test_titles(titles: list[Title]) -> None:
    data = tables.titles_table(titles)
    assert tables.read_titles_table(data) == titles
    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    assert [(row["codec"], row["width"], row["master"]) for row in rows] == [("h264", 64, "a title.mp4"), ("", 0, "")]


def test_titles_that_were_planned_say_what_of_them_is_doubtful(titles: list[Title], tmp_path: Path) -> None:
    files = RunFiles(Store(str(tmp_path)), "20260101-000000-aaaa")
    note = CadenceNote(cadence="progressive", treatment="pass", parts=(), pictures=8, evidence={})
    files.write_titles(titles, [Outcome(title=titles[0].name, state="done", cadence=note, doubts=("frame 3 is gone",))])
    (place,) = tmp_path.rglob("titles.parquet")
    assert [row["doubts"] for row in pq.read_table(place).to_pylist()] == [["frame 3 is gone"], []]
    assert files.read_titles() == titles


def test_shards() -> None:
    shards = [
        Shard("ü.mkv", i, 10 * i, 10 * i + 10, i, 2 * i, "length", -5 + i, 2**40 + i, -5, 1.5, f"{i:064x}")
        for i in range(5)
    ]
    assert tables.read_shards_table(tables.shards_table(shards)) == shards
    assert tables.read_shards_table(tables.shards_table([])) == []


def test_ledger() -> None:
    row = tables.LedgerRow(1_700_000_000.25, "t", 1, 0, 10, "k", 2, "failed", "WorkerLost", "it died", fidelity=40.0)
    (held,) = tables.read_ledger_table(tables.ledger_table([row]))
    assert held == row
    (unknown,) = tables.read_ledger_table(tables.ledger_table([replace(row, fidelity=float("nan"))]))
    assert math.isnan(unknown.fidelity)


def test_timeline(film: Path) -> None:
    timeline = read_timeline(Source(str(film), "film"), 0)
    held = tables.read_timeline_table(tables.timeline_table(timeline))
    for name in Timeline.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(held, name), getattr(timeline, name))
        assert getattr(held, name).dtype == getattr(timeline, name).dtype


def test_orders_and_records_survive_json(titles: list[Title], tmp_path: Path) -> None:
    plan = plan_title(titles[0], read_profile(None, {"scale": 2}), Store(str(tmp_path)))
    for work in plan.work:
        assert from_json(Work, to_json(work)) == work
    record = Record("k", "s", 1, 2, 33.5, 7, {"total": 0.1}, "host:1:cpu")
    assert from_json(Record, to_json(record)) == record
    with pytest.raises(ValueError, match="Field required"):
        from_json(MasterRecord, to_json(record))


def test_a_record_cut_short_is_an_error() -> None:
    data = to_json(Record("k", "s", 1, 2, 33.5, 7, {}, "w"))
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"."):
            from_json(Record, data[:length])


def test_a_content_key_depends_on_the_content_alone() -> None:
    shard = Shard("t", 0, 0, 1, 0, 0, "start", 0, 0, 0, 1.0, "")
    assert content_key({"a": 1, "b": shard}) == content_key({"b": shard, "a": 1})
    assert content_key({"a": 1, "b": shard}) != content_key({"a": 1, "b": replace(shard, stop=2)})
    assert len(content_key({})) == 64


def test_reading_a_table_leaves_no_thread_behind_that_could_end_the_process() -> None:
    script = (
        "import os; from tasks import tables; before = len(os.listdir('/proc/self/task'));"
        "table = tables.read_table(tables.estimates_table([])); assert table.num_rows == 0;"
        "assert len(os.listdir('/proc/self/task')) == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
