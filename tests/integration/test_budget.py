"""A run that would cost too much is not begun; one that spent its budget stops between shards and goes on later."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import assert_keeps
from tests.feed import events
from tests.needs import mounted

FAST = ("--scale", "2", "--set", "master.preset=ultrafast", "--set", "shards.frames=10", "--workers", "1")
# A worker's hour at the price of seconds: any shard at all is more than the budget.
DEAR = ("--set", "cost.gpu_hour=1e9", "--set", "cost.budget=0.01")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("library") / "film.mp4", Clip(frames=60, subtitle=True))


def records(output: Path) -> set[Path]:
    return {place for place in output.rglob("*.json") if "records" in place.parts}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("megabytes", "because"),
    [
        (24, r"store and masters need another 0\.03\d GB and \S+/small/store has 0\.0\d\d GB free\. Make room"),
        (1, r"noise\.mkv: there is no room for a sample of it\. No space left to write \S+ [^.]*\. Free some"),
    ],
)
def test_a_run_that_would_fill_the_disk_is_not_begun(
    megabytes: int, because: str, remaster: Remaster, tmp_path: Path
) -> None:
    """It takes 35 MB there, and a sample of it half as much."""
    films, small = tmp_path / "films", tmp_path / "small"
    make(films / "noise.mkv", Clip(frames=300, width=160, height=120, grain=90))
    with mounted(small, f"size={megabytes}m"):
        full = remaster("run", films, tmp_path / "out", *FAST, "--store", small / "store")
        assert full.returncode == 1, full.stdout + full.stderr
        assert re.search(f"not begun: {because}", full.stderr), full.stderr
        assert not (tmp_path / "out" / "noise.mkv").exists()
        assert not records(small)


@pytest.mark.slow
def test_a_run_that_would_cost_too_much_is_not_begun(
    film: Path, remaster: Remaster, prefect_api: str, tmp_path: Path
) -> None:
    result = remaster("run", film, tmp_path, *FAST, *DEAR)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "not begun: it would cost" in result.stderr
    assert "cost.budget is 0.01" in result.stderr
    assert not records(tmp_path)
    assert not (tmp_path / "film.mp4").exists()
    (refused,) = events(prefect_api, "remaster.run.refused", 1, resource={"id": [f"remaster.library.{film}"]})
    assert "cost.budget is 0.01" in refused["payload"]["reason"]
    # It has ended, and left nothing of what it measured.
    assert remaster("status", "--store", tmp_path / ".remaster").returncode == 1
    left = list((tmp_path / ".remaster").rglob("*.mkv"))
    assert not left


@pytest.mark.slow
def test_a_run_stops_when_its_budget_is_spent_and_the_next_goes_on(
    film: Path, remaster: Remaster, prefect_api: str, tmp_path: Path
) -> None:
    stopped = remaster("run", film, tmp_path, *FAST, *DEAR, "--set", "cost.over_budget=stop")
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert "stopped: The budget is spent" in stopped.stderr
    made = records(tmp_path)
    assert len(made) == 1  # of six, and whole
    verdict = json.loads(next((tmp_path / ".remaster" / "runs").glob("*/verdict.json")).read_text())
    assert verdict["state"] == "stopped"
    (reached,) = events(prefect_api, "remaster.budget.reached", 1, resource={"id": [f"remaster.library.{film}"]})
    assert reached["payload"]["spent"] > reached["payload"]["budget"] == 0.01

    again = remaster("run", film, tmp_path, *FAST)
    assert again.returncode == 0, again.stdout + again.stderr
    assert made < records(tmp_path)
    status = remaster("status", "--store", tmp_path / ".remaster").stdout
    assert "5 shards worked on, 1 cached" in status, status
    assert_keeps(film, tmp_path / "film.mp4", 2)
