"""A title whose picture changes size in mid-stream is made in parts, with a warning; nothing of it is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flows.cli import main
from flows.run import RunFiles, list_runs
from tasks.store import Store
from tests import broken
from tests.conftest import Remaster
from tests.contract import assert_keeps

FAST = ("--scale", "2", "--set", "master.codec=h264", "--set", "master.preset=ultrafast", "--set", "retry.delay=0.1")


def latest(output: Path) -> RunFiles:
    store = Store(str(output / ".remaster"))
    return RunFiles(store, list_runs(store)[-1])


def test_both_parts_become_masters_once(tmp_path: Path, remaster: Remaster, capsys: pytest.CaptureFixture[str]) -> None:
    library, output = tmp_path / "films", tmp_path / "out"
    (library / "news").mkdir(parents=True)
    broken.size_changes(library / "news" / "evening.ts")
    done = remaster("run", library, output, *FAST)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = sorted((output / ".remaster" / "parts").rglob("*.ts"))
    masters = sorted((output / "news").glob("evening.part?.mp4"))
    assert [master.stem for master in masters] == ["evening.part1", "evening.part2"]
    for part, master in zip(parts, masters, strict=True):
        assert_keeps(part, master, 2)
    files = latest(output)
    outcomes = {outcome.title: outcome for outcome in files.read_outcomes()}
    assert outcomes.keys() == {"news/evening.ts", "news/evening.part1.ts", "news/evening.part2.ts"}
    whole = outcomes["news/evening.ts"]
    assert (whole.state, whole.frames) == ("done", 24)
    assert "made in 2 parts: news/evening.part1.ts, news/evening.part2.ts" in whole.remarks[-1]
    assert whole.masters == tuple(map(str, masters))
    assert "is part 2 of 2 of news/evening.ts" in outcomes["news/evening.part2.ts"].remarks[0]
    assert "made in 2 parts" in files.store.read(whole.report).decode()

    again = remaster("run", library, output, *FAST, "--new-only")
    assert "1 of 1 titles done, 1 of them before" in again.stdout + again.stderr

    masters[1].unlink()
    named = ("rerun", list_runs(files.store)[0], "--store", output / ".remaster", "--title", "news/evening.part2.ts")
    assert "whose shards have no numbers here" in remaster(*named, "--shard", "0").stderr
    remaster(*named)
    assert masters[1].exists(), "a part that is gone is made again"
    made = {row.outcome for row in latest(output).read_ledger()}
    assert made <= {"cached"}, "of the shards there were"

    assert main(["verify", str(output / ".remaster")]) == 0
    whole = parts[0].read_bytes()
    parts[0].write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    capsys.readouterr()
    assert main(["verify", str(output / ".remaster")]) == 1
    assert f"{parts[0]}" in capsys.readouterr().out
    parts[0].unlink()

    assert main(["clean", str(output / ".remaster"), "--yes"]) == 0
    assert not list((output / ".remaster" / "parts").rglob("*.ts")), "they can be made again"
    remaster("run", library, output, *FAST)
    assert {row.outcome for row in latest(output).read_ledger()} <= {"cached"}

    capsys.readouterr()
    assert main(["plan", str(library), "--output", str(output), *FAST, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert [row["title"] for row in planned["titles"]] == ["news/evening.part1.ts", "news/evening.part2.ts"]
    assert planned["total"]["frames"] == 24


@pytest.mark.slow
def test_no_part_takes_the_place_of_another_title(tmp_path: Path, remaster: Remaster) -> None:
    library, output = tmp_path / "films", tmp_path / "out"
    library.mkdir()
    film = broken.size_changes(library / "film.ts")
    shutil.copy(broken.size_changes(tmp_path / "other.ts", times=0), library / "film.part2.ts")
    done = remaster("run", library, output, *FAST)
    assert done.returncode == 3
    outcome = next(each for each in latest(output).read_outcomes() if each.title == film.name)
    assert outcome.state == "refused"
    assert "would be that of film.part2.ts" in outcome.reason
