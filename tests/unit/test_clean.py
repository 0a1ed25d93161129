"""`clean` removes what no run speaks of, after showing it, and nothing else whatever lies there."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import main
from flows.references import needed_shards
from flows.run import RunFiles
from tasks.clean import find_waste
from tasks.errors import UsageError
from tasks.hold import Hold, write_hold
from tasks.records import to_sealed
from tasks.store import Store
from tests import mastered
from tests.mastered import Mastered, flip

NOBODYS = "ab" + "0" * 62
OLD = time.time() - 48 * 3600


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    root = tmp_path_factory.mktemp("original")
    return mastered.remaster(mastered.library(root / "films"), str(root / "out"), str(root / "store"))


@pytest.fixture
def store(original: Mastered, tmp_path: Path) -> Path:
    """A copy of a store with three files of a shard that no run speaks of."""
    root = tmp_path / "store"
    shutil.copytree(original.store, root)
    for name in WASTE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"0123456789")
    return root


WASTE = (f"segments/ab/{NOBODYS}-{NOBODYS[:16]}.mkv", f"records/ab/{NOBODYS}.json", f"results/shard-{NOBODYS}")


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_first_it_only_shows(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(store)
    assert main(["clean", str(store)]) == 0
    out = capsys.readouterr().out
    assert all(str(store / name) in out for name in WASTE)
    assert "3 files, 30 bytes" in out
    assert "nothing was removed" in out
    assert everything(store) == before


def test_then_it_removes_that_and_nothing_else(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(store)
    assert main(["clean", str(store), "--yes"]) == 0
    assert "removed 30 bytes" in capsys.readouterr().out
    assert before - everything(store) == set(WASTE)
    assert main(["verify", str(store)]) == 0


def test_what_a_run_that_was_let_go_of_alone_spoke_of_goes(
    original: Mastered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "store"
    shutil.copytree(original.store, root)
    films = tmp_path / "films"
    mastered.make(films / "another.mkv", mastered.Clip(frames=12))
    mastered.remaster(films, str(tmp_path / "out"), str(root), run="20270101-000000-bbbb")
    before = everything(root)
    shutil.rmtree(root / "runs" / "20270101-000000-bbbb")
    assert main(["clean", str(root), "--yes"]) == 0
    gone = {name for name in before - everything(root) if not name.startswith("runs/")}
    assert {name.split("/")[0] for name in gone} == {"segments", "records"}
    kept = set(original.files) | {shard.record for shard in original.plan.shards}
    assert kept <= everything(root)


def test_what_it_does_not_know_it_leaves(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = (
        "segments/notes.txt",
        f"segments/cd/{NOBODYS}-{NOBODYS[:16]}.mkv",
        f"segments/ab/{NOBODYS}-{NOBODYS[:16]}.mkv.bak",
        f"results/master-{NOBODYS}",
        "results/shard-x",
        "mine/film.mkv",
        "film.mkv",
    )
    for name in strange:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(b"keep me")
    assert main(["clean", str(store), "--yes"]) == 0
    assert set(strange) <= everything(store)
    assert "4 are of no known kind and stay" in capsys.readouterr().out


def test_nothing_goes_while_a_run_may_go_on(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (verdict,) = store.glob("runs/*/verdict.json")
    verdict.unlink()
    before = everything(store)
    assert main(["clean", str(store), "--yes"]) == 2
    assert f"run {verdict.parent.name}: has no verdict" in capsys.readouterr().err
    assert everything(store) == before
    assert main(["clean", str(store), "--yes", "--cut-off", verdict.parent.name]) == 0
    assert before - everything(store) == set(WASTE)


def test_a_run_that_has_only_begun_holds_everything(original: Mastered, store: Path) -> None:
    run = RunFiles(Store(original.store), "20260101-000000-aaaa").read_run()
    RunFiles(Store(str(store)), "20280101-000000-cccc").write_run(run)
    assert main(["clean", str(store), "--yes"]) == 2
    assert set(WASTE) <= everything(store)


def test_nothing_goes_if_a_table_is_damaged(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table,) = store.glob("runs/*/shards.parquet/*")
    whole = table.read_bytes()
    before = everything(store)
    needed = needed_shards(Store(str(store)), ())
    refused = 0
    for offset in range(0, len(whole), 3):
        table.write_bytes(whole)
        flip(table, offset)
        try:
            # A byte that means nothing may pass; none may set a needed file free.
            assert needed <= needed_shards(Store(str(store)), ())
        except UsageError:
            refused = offset
    table.write_bytes(whole)
    flip(table, refused)
    assert main(["clean", str(store), "--yes"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert everything(store) == before


def test_nothing_goes_from_a_place_without_runs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(store / "runs")
    before = everything(store)
    assert main(["clean", str(store), "--yes"]) == 2
    assert "so all would go" in capsys.readouterr().err
    assert everything(store) == before


def test_what_killed_processes_left_goes_once_it_is_old(store: Path) -> None:
    old, new = store / ".remaster-tmp-old", store / ".remaster-tmp-new"
    file = store / "segments" / ".remaster-tmp-file"
    for folder in (old, new):
        folder.mkdir()
        (folder / "segment.mkv").write_bytes(b"half")
    file.write_bytes(b"half")
    for path in (old / "segment.mkv", old, file):
        os.utime(path, (OLD, OLD))
    os.utime(new, (OLD, OLD))  # what is in it is new
    assert main(["clean", str(store), "--yes"]) == 0
    assert not old.exists()
    assert not file.exists()
    assert (new / "segment.mkv").exists()


def test_only_temporary_files_are_removed_as_such(store: Path) -> None:
    with pytest.raises(UsageError, match="no temporary file"):
        Store(str(store)).delete_temporary("runs")
    assert (store / "runs").is_dir()


def test_a_shard_that_a_run_came_to_need_meanwhile_stays(original: Mastered, store: Path) -> None:
    from tasks.clean import remove_waste

    place = Store(str(store))
    needed = {shard.key for shard in original.plan.shards}
    waste = find_waste(place, needed)
    assert remove_waste(place, waste, lambda: needed | {NOBODYS}) == 0
    assert set(WASTE) <= everything(store)


def test_a_segment_goes_once_its_record_names_another(original: Mastered, store: Path) -> None:
    """As after `--force` on a device that does not compute the same bits twice."""
    shard, record = original.plan.shards[1], original.records[1]
    left = store / record.segment.replace(record.sha256[:16], "0" * 16)
    left.write_bytes(b"another one")
    before = everything(store)
    assert main(["clean", str(store), "--yes"]) == 0
    assert before - everything(store) == {*WASTE, str(left.relative_to(store))}
    assert (store / record.segment).exists()
    assert main(["verify", str(store)]) == 0

    # Where the record is gone nobody knows which one will do.
    left.write_bytes(b"another one")
    (store / shard.record).unlink()
    before = everything(store)
    assert main(["clean", str(store), "--yes"]) == 0
    assert everything(store) == before


def test_a_segment_that_is_named_again_meanwhile_stays(original: Mastered, store: Path) -> None:
    from tasks.clean import remove_waste

    place, needed = Store(str(store)), {shard.key for shard in original.plan.shards}
    shard, record = original.plan.shards[1], original.records[1]
    left = record.segment.replace(record.sha256[:16], "0" * 16)
    (store / left).write_bytes(b"another one")
    waste = find_waste(place, needed)
    assert waste.replaced == (left,)
    (store / shard.record).write_bytes(to_sealed(replace(record, sha256="0" * 64)))
    remove_waste(place, waste, lambda: needed)
    assert (store / left).exists()


def test_parts_of_sources_go_unless_a_person_is_to_decide_of_one(original: Mastered, store: Path) -> None:
    """They can be made again from their sources, but would not be what was looked at."""
    kept, gone = (f"parts/ab/{key}/1.ts" for key in ("ab" + "1" * 62, "ab" + "2" * 62))
    for name in (kept, gone):
        (store / name).parent.mkdir(parents=True)
        (store / name).write_bytes(b"0123456789")
    place, master = Store(str(store)), original.master
    part = replace(original.plan.title, uri=place.uri(kept))
    hold = Hold(
        "waiting", "a run", part, original.output, "a plan", master.key, master.sha256, master.size, master.uri, (), (),
        (0,), (),
    )  # fmt: skip
    write_hold(hold, place)
    needed = needed_shards(place, ())
    assert set(find_waste(place, needed).shards) == {gone, *WASTE}
    write_hold(replace(hold, state="settled"), place)
    assert kept in find_waste(place, needed).shards
