"""`remaster watch` goes on by itself: over an outage of Prefect's server, what failed, and a budget that is spent."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.clips import Clip, make
from tests.faults.theatre import PrefectServer
from tests.integration.test_deployments import FAST, command, rows, running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OFTEN = ("--settle", "1", "--every", "0.5")
# A worker's hour at the price of seconds: any shard at all is more than the budget.
DEAR = ("--set", "cost.gpu_hour=1e9", "--set", "cost.budget=0.01", "--set", "cost.over_budget=stop")
# The command, on a planet whose day has so many seconds.
PROGRAM = "import sys; from flows import cli, watching; watching.A_DAY = 20.0; sys.exit(cli.main())"


def made(output: Path) -> list[str]:
    """The titles of the shards that were made, in order of name."""
    runs = (output / ".remaster" / "runs").iterdir()
    return sorted(row["title"] for run in runs for row in rows(run) if row["outcome"] == "done")


def test_while_prefect_s_server_is_away_it_waits_and_then_goes_on(remaster_env: dict[str, str], tmp_path: Path) -> None:
    library, output, log = tmp_path / "library", tmp_path / "out", tmp_path / "log"
    make(library / "first.mp4", Clip(frames=12))
    prefect = PrefectServer(tmp_path / "prefect")
    prefect.folder.mkdir()
    prefect.start()
    try:
        env = remaster_env | {"PREFECT_API_URL": prefect.api}
        with running(command("watch", library, output, *FAST, *OFTEN), env, log, "watching"):
            until(lambda: "completed: 1 of 1 titles done\n" in log.read_text())
            prefect.kill()
            make(library / "second.mp4", Clip(frames=24))
            until(lambda: "does not answer" in log.read_text())
            time.sleep(10)  # many looks
            prefect.start()
            until(lambda: "completed: 2 of 2 titles done, 1 of them before\n" in log.read_text())
            time.sleep(3)
    finally:
        prefect.kill()
    said = log.read_text()
    assert said.count("does not answer") == said.count("new: second.mp4\n") == 1, said
    assert made(output) == ["first.mp4", "second.mp4"]


def test_what_failed_is_tried_again_after_pauses_that_grow(remaster_env: dict[str, str], tmp_path: Path) -> None:
    """With a Prefect server of each run's own, as one without PREFECT_API_URL has it."""
    library, output, log = tmp_path / "library", tmp_path / "out", tmp_path / "log"
    make(library / "film.mp4", Clip(frames=12))
    (library / "torn.mp4").write_bytes(b"no video")  # trying again would not help
    in_the_way = output / "film.mp4"
    in_the_way.mkdir(parents=True)
    env = remaster_env | {"PREFECT_API_URL": ""}
    with running(command("watch", library, output, *FAST, *OFTEN), env, log, "watching"):
        until(lambda: log.read_text().count("failed: 2 of 2") == 2)
        in_the_way.rmdir()
        until(lambda: "1 of 2 titles are not done: torn.mp4" in log.read_text())
        time.sleep(5)
    told = [line for line in log.read_text().splitlines() if line.startswith("new: ")]
    assert told[0] == "new: film.mp4, torn.mp4"
    assert len(told) <= 4 and set(told[1:]) == {"new: film.mp4"}, told
    assert made(output) == ["film.mp4"]


def test_what_a_budget_left_is_made_a_day_later_and_nothing_before(
    remaster_env: dict[str, str], tmp_path: Path
) -> None:
    library, output, log = tmp_path / "library", tmp_path / "out", tmp_path / "log"
    make(library / "film.mp4", Clip(frames=24))
    watch = [sys.executable, "-c", PROGRAM, "watch", library, output, *FAST, *OFTEN, *DEAR]
    shards = ("--set", "shards.frames=12")
    with running([*watch, *shards], remaster_env, log, "watching"):
        until(lambda: "stopped: The budget is spent" in log.read_text())
        rest = time.monotonic()
        make(library / "another.mp4", Clip(frames=12))
        until(lambda: log.read_text().count("new: ") == 2)
        assert time.monotonic() - rest > 15
        until(lambda: log.read_text().count("stopped: ") == 2)
        until(lambda: "completed: 2 of 2 titles done" in log.read_text())
    assert made(output) == ["another.mp4", "film.mp4", "film.mp4"]
