"""Whatever a file holds, it is read or refused with a sentence: no crash, no hang, no memory beyond a limit."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import REPOSITORY, SHARED_CLIPS
from tests.faults import fuzz, fuzz_runs

FILES = int(os.environ.get("REMASTER_FUZZ_FILES", "2000"))
A_FEW = 40
CLIPS, RUNS = fuzz.__name__, fuzz_runs.__name__
# Seconds that a file may take, on a machine with more to do.
LIMIT = 60.0
_WORST = ("CRASHED", "HANGS", "ESCAPED MemoryError")


def outcomes(first: int, last: int, module: str, *folders: Path) -> dict[int, str]:
    """What became of each mutation; a child that dies or hangs is named, and the next one goes on behind it."""
    found: dict[int, str] = {}
    while first < last:
        number, outcome = _until_it_ends(["-m", module, str(first), str(last), *map(str, folders)], first, found)
        if number is None:
            return found
        found[number] = outcome
        first = number + 1
    return found


def _until_it_ends(arguments: list[str], first: int, found: dict[int, str]) -> tuple[int | None, str]:
    """Run a child; the number it died or hung at and how, or None if it came to its end."""
    command = [sys.executable, *arguments]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    child = subprocess.Popen(
        command, env=env, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read_along, args=(child.stdout, lines))
    reader.start()
    number = None
    try:
        while line := lines.get(timeout=LIMIT):
            word, _, rest = line.strip().partition(" ")
            if word == "begin":
                number = int(rest.split()[0])
            elif number is not None:
                found[number], number = rest, None
    except queue.Empty:
        return (number if number is not None else first), "HANGS"
    finally:
        child.kill()
        code = child.wait()
        reader.join()
        child.stdout.close()
    assert number is not None or not code, f"the child could not begin or end: {code}"
    return number, f"CRASHED {code}"


def _read_along(output: IO[str], lines: queue.Queue[str]) -> None:
    for line in output:
        lines.put(line)
    lines.put("")


def bad(found: dict[int, str]) -> dict[int, str]:
    """The mutations that neither were read nor refused."""
    return {number: outcome for number, outcome in found.items() if outcome not in ("read", "refused")}


def worst(found: dict[int, str]) -> dict[int, str]:
    """Those that took their process with them, or its time or memory."""
    return {number: outcome for number, outcome in found.items() if outcome.startswith(_WORST)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuzz.make_bases(tmp_path_factory.mktemp("fuzz") / "bases")


def test_a_few_damaged_files_are_read_or_refused(folder: Path) -> None:
    found = outcomes(0, A_FEW, CLIPS, folder, SHARED_CLIPS)
    assert not bad(found)
    assert set(found) == set(range(A_FEW))
    assert set(found.values()) == {"read", "refused"}, "both happen, or nothing was tried"


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_many_damaged_files_are_read_or_refused(folder: Path) -> None:
    found = outcomes(A_FEW, FILES, CLIPS, folder, SHARED_CLIPS)
    print(Counter(found.values()))
    assert not bad(found)
    assert len(found) == FILES - A_FEW


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuzz_runs.make_runs(tmp_path_factory.mktemp("fuzz") / "runs")


@pytest.fixture(scope="module")
def of_a_few_runs(runs: Path) -> dict[int, str]:
    return outcomes(0, A_FEW, RUNS, runs)


@pytest.fixture(scope="module")
def of_many_runs(runs: Path) -> dict[int, str]:
    return outcomes(A_FEW, FILES, RUNS, runs)


def test_a_few_damaged_runs_crash_hang_and_swell_nothing(of_a_few_runs: dict[int, str]) -> None:
    assert not worst(of_a_few_runs)
    assert set(of_a_few_runs) == set(range(A_FEW))
    assert {"read", "refused"} <= set(of_a_few_runs.values()), "both happen, or nothing was tried"


def test_a_few_damaged_runs_are_read_or_refused(of_a_few_runs: dict[int, str]) -> None:
    assert not bad(of_a_few_runs)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_many_damaged_runs_crash_hang_and_swell_nothing(of_many_runs: dict[int, str]) -> None:
    print(Counter(outcome[:60] for outcome in of_many_runs.values()))
    assert not worst(of_many_runs)
    assert len(of_many_runs) == FILES - A_FEW


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_many_damaged_runs_are_read_or_refused(of_many_runs: dict[int, str]) -> None:
    assert not bad(of_many_runs)


def test_a_hang_a_crash_and_a_stranger_are_told_apart() -> None:
    found = {1: "read", 2: "refused", 3: "HANGS", 4: "CRASHED -11", 5: "ESCAPED KeyError", 6: "ESCAPED MemoryError: "}
    assert bad(found).keys() == {3, 4, 5, 6}
    assert worst(found).keys() == {3, 4, 6}
