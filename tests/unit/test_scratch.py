"""What killed processes leave half-written is removed; what somebody may still work on is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.store import Store, scratch
from tasks.store.process import is_gone, this_process
from tasks.store.protocol import TEMPORARY

DAY = 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def killed_in_the_middle(store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder with a file in it, of a process that was killed."""
    script = (
        "import sys, time; from tasks.store import Store\n"
        "with Store(sys.argv[1]).temporary_folder() as folder:\n"
        "    (folder / 'master.mkv').write_bytes(b'half'); print(folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, store.root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert store.sweep() == 0, "its process lives"
        process.kill()
    return folder


def made(path: Path, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_killed_processs_scratch_is_removed_and_a_living_ones_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = killed_in_the_middle(store, monkeypatch)
    with store.temporary_folder() as mine:
        (mine / "segment.mkv").write_bytes(b"half")
        os.utime(mine / "segment.mkv", (time.time() - 9 * DAY,) * 2)
        os.utime(mine, (time.time() - 9 * DAY,) * 2)
        assert store.sweep() == 1
        assert (mine / "segment.mkv").exists()
    assert not left.exists()


def test_half_written_files_are_found_wherever_they_are(store: Store) -> None:
    gone = made(Path(store.root) / "records/ab" / f"{TEMPORARY}{_dead_process()}-0", age=0)
    store.write("records/ab/cd.json", b"whole")
    assert store.sweep() == 0, "only the root's own"
    assert store.sweep_below() == 1
    assert not gone.exists()
    assert store.list() == ["records/ab/cd.json"]


def test_files_on_their_way_to_a_folder_on_another_disk_are_in_that_folder(store: Store) -> None:
    """A master is moved from the root's scratch; where that is a copy, it is made beside its place."""
    season = Path(store.root) / "season 1"
    half = made(season / f"{TEMPORARY}{_dead_process()}-0", age=0)
    mine = made(season / scratch.temporary_name(), age=0)
    others = made(Path(store.root) / "elsewhere" / f"{TEMPORARY}{_dead_process()}-0", age=0)
    assert store.sweep("season 1", "not there yet", "") == 1
    assert not half.exists()
    assert mine.exists() and others.exists()


@pytest.mark.parametrize("name", ["0123456789ab-12-34-0", "0123456789abcdef0123456789abcdef", "x"])
def test_what_somebody_elsewhere_left_is_removed_after_a_day(store: Store, name: str) -> None:
    fresh = made(Path(store.root) / f"{TEMPORARY}{name}", age=DAY - 60)
    assert store.sweep() == 0
    os.utime(fresh, (time.time() - DAY - 60,) * 2)
    assert store.sweep() == 1


def test_a_folder_is_as_young_as_the_youngest_file_in_it(store: Store) -> None:
    folder = Path(store.root) / f"{TEMPORARY}0123456789ab-12-34-0"
    made(folder / "master.mkv", age=60)
    os.utime(folder, (time.time() - 2 * DAY,) * 2)
    assert store.sweep() == 0
    os.utime(folder / "master.mkv", (time.time() - 2 * DAY,) * 2)
    os.utime(folder, (time.time() - 2 * DAY,) * 2)
    assert store.sweep() == 1


def test_a_remote_stores_scratch_is_in_the_systems_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    left = made(tmp_path / f"{TEMPORARY}{_dead_process()}-0" / "master.mkv", age=0)
    inner = made(tmp_path / "somebodys" / f"{TEMPORARY}{_dead_process()}-0", age=0)
    assert Store("s3://bucket/store").sweep_below() == 1
    assert not left.exists()
    assert inner.exists()


def test_a_root_that_is_not_there_has_nothing_in_it(store: Store) -> None:
    assert store.sweep() == store.sweep_below() == 0


def test_a_process_is_gone_when_its_number_is_anothers(store: Store) -> None:
    machine, number, started = this_process().split("-")
    assert not is_gone(this_process())
    assert is_gone(f"{machine}-{number}-{int(started) - 1}")
    assert not is_gone(f"elsewhere-{number}-{int(started) - 1}")
    assert not is_gone("") and not is_gone(machine) and not is_gone(f"{machine}-x-y")


def test_every_temporary_name_is_another(store: Store) -> None:
    assert len({scratch.temporary_name() for _ in range(100)}) == 100


def _dead_process() -> str:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{this_process().split('-')[0]}-{process.pid}-{started}"
