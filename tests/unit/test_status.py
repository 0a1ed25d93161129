"""How a run stands, read from its store alone, once and until it ends."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from flows import status
from flows.cli import main
from flows.run import Ledger, Outcome, Run, RunFiles, Verdict
from tasks.errors import StoreDamaged
from tasks.profile import Profile
from tasks.records import Shard, Title
from tasks.seal import opened
from tasks.store import Store
from tasks.tables import LedgerRow
from tests.mastered import flip

ID = "20260101-000000-aaaa"
TITLE = Title("film.mkv", "/films/film.mkv", 1, "1")
SHARDS = tuple(Shard(TITLE.name, i, 10 * i, 10 * i + 10, 0, 0, "length", 0, 0, 0, 1.0, f"{i:064x}") for i in range(3))


def row(index: int, outcome: str, **more: object) -> LedgerRow:
    shard = SHARDS[index]
    plain: dict[str, object] = {"worker": "host:7:cpu", "attempt": 1, **more}
    return LedgerRow(time.time(), shard.title, index, shard.start, shard.stop, shard.key, outcome=outcome, **plain)  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    store = Store(str(tmp_path))
    files = RunFiles(store, ID)
    files.begin(Run(id=ID, library="/films", output="/out", store=store.root, profile=Profile()))
    files.write_titles([TITLE])
    files.write_shards(TITLE, SHARDS)
    return files


def test_a_failed_shard_is_named_until_it_is_made(files: RunFiles, tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)), ID)
    ledger.add(row(1, "failed", error="WorkerLost"))
    ledger.add(row(0, "done"))
    ledger.file()
    text = status.describe(files)
    assert "1/3 shards" in text
    assert "1 failed attempts" in text
    assert "shard 1 [10,20)  WorkerLost on host:7:cpu" in text
    assert "running, or cut off" in text
    ledger.add(row(1, "done", attempt=2))
    ledger.file()
    assert "shard 1 [10,20)" not in status.describe(files)
    assert "2/3 shards" in status.describe(files)


def test_an_attempt_without_an_end_is_said_to_be_in_hand_or_lost(files: RunFiles, tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)), ID)
    for index in (0, 1):
        ledger.begin(row(index, "begun", began=time.time(), driver="host:1"))
    text = status.describe(files)
    assert text.count("UTC on host:7:cpu by host:1: in hand, or lost with its driver") == 2
    assert text.endswith("0 shards worked on, 0 cached, 0 failed attempts, 2 attempts whose end is not noted")
    assert "0/3 shards" in text
    ledger.add(row(1, "done", driver="host:2"))  # by another driver, after this one was killed
    ledger.file()
    text = status.describe(files)
    assert "shard 0 [0,10)  begun" in text and text.count(": in hand, or lost with its driver") == 1
    assert text.count(": lost with its driver") == 1
    files.write_verdict(Verdict(state="completed", message="", finished=""))
    assert status.describe(files).count(": lost with its driver") == 2


def test_watching_ends_with_the_run_and_says_what_changed(
    files: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_LOOK_SECONDS", 0.02)
    out = io.StringIO()
    seen: list[Verdict] = []
    watching = threading.Thread(target=lambda: seen.append(status.watch(files, Console(file=out))))
    watching.start()
    with Ledger(Store(str(tmp_path)), ID) as ledger:
        for index in range(3):
            ledger.add(row(index, "done"))
            ledger.file()
            deadline = time.monotonic() + 20
            while f"{index + 1}/3 shards" not in out.getvalue():
                assert time.monotonic() < deadline, out.getvalue()
                time.sleep(0.01)
    assert watching.is_alive()
    files.write_outcome(TITLE, Outcome(title=TITLE.name, state="done", master="/out/film.mkv"))
    verdict = Verdict(state="completed", message="1 of 1", finished="2026-01-01T00:00:00+00:00")
    files.write_verdict(verdict)
    watching.join(20)
    assert seen == [verdict]
    assert out.getvalue().rstrip().endswith("3 shards worked on, 0 cached, 0 failed attempts")
    assert out.getvalue().count("1/3 shards") == 1, "what has not changed is not said again"
    assert main(["status", ID, "--store", str(tmp_path), "--watch"]) == 0


def test_an_outcome_of_an_older_version_is_read(files: RunFiles, tmp_path: Path) -> None:
    title = Title(name="a.mkv", uri="/films/a.mkv", size=1, stamp="")
    files.write_outcome(title, Outcome(title="a.mkv", state="done"))
    (noted,) = tmp_path.rglob("outcomes/*.json")
    older = opened(noted.read_bytes()).replace(b'"done"', b'"done", "preview": "a picture in base 64"')
    noted.write_bytes(older)
    assert files.read_outcome(title) == Outcome(title="a.mkv", state="done")


@pytest.mark.parametrize("file", ["run.json", "titles.parquet", "outcomes/*", "ledger.parquet/*", "shards.parquet/*"])
def test_a_damaged_file_of_a_run_is_named_with_what_to_do(file: str, files: RunFiles, tmp_path: Path) -> None:
    files.write_outcome(TITLE, Outcome(title=TITLE.name, state="done"))
    ledger = Ledger(Store(str(tmp_path)), ID)
    ledger.add(row(0, "done"))
    ledger.file()
    (damaged,) = tmp_path.glob(f"runs/{ID}/{file}")
    flip(damaged, damaged.stat().st_size // 2)
    with pytest.raises(StoreDamaged, match=rf"{re.escape(str(damaged))}: is damaged .*Restore it from a copy"):
        status.describe(files)


def test_trying_a_run_again_takes_its_verdict_back(files: RunFiles) -> None:
    files.write_outcome(TITLE, Outcome(title=TITLE.name, state="failed", reason="so"))
    files.write_verdict(Verdict(state="failed", message="so", finished=""))
    files.begin(files.read_run())
    assert files.read_verdict() is None
    assert files.read_outcomes() == []


def test_an_attempt_is_on_the_store_within_seconds(
    files: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.run._LEDGER_SECONDS", 0.05)
    with Ledger(Store(str(tmp_path)), ID) as ledger:
        ledger.add(row(0, "done"))
        deadline = time.monotonic() + 20
        while not files.read_ledger():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_neither_prefect_nor_ray_is_needed(files: RunFiles, tmp_path: Path) -> None:
    files.write_verdict(Verdict(state="completed", message="", finished=""))
    code = (
        "import sys; from flows.cli import main\n"
        f"assert main(['status', {ID!r}, '--store', {str(tmp_path)!r}, '--watch']) == 0\n"
        "print({'prefect', 'ray'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
