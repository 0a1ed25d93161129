"""A file that still changes is left for a later run: neither opened nor lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flows.library import _verdict
from flows.run import Outcome, Run
from flows.watching import lying_still, watch
from tasks.profile import Profile
from tasks.scan import scan
from tasks.tables import read_titles_table, titles_table
from tests.clips import Clip, make

SETTLE = 1.0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("settle") / "library"
    make(root / "still.mp4", Clip(frames=5))
    time.sleep(SETTLE + 0.2)
    return root


@pytest.fixture
def growing(library: Path) -> Path:
    path = library / "growing.mp4"
    path.write_bytes(b"only the beginning")
    os.utime(path, (1e9, 1e9))  # as programs do that copy times along with bytes
    return path


def test_what_changed_just_now_is_left_unopened_and_said_so(library: Path, growing: Path) -> None:
    left, still = scan(str(library), str(library.parent / "out"), Profile(), SETTLE)
    assert (still.name, still.left, still.refused) == ("still.mp4", "", "")
    assert "growing.mp4: changed 0 s ago, and is left for a later run" in left.left
    assert (left.refused, left.probe) == ("", None)
    assert read_titles_table(titles_table([left, still])) == [left, still]


def test_once_it_lies_still_it_is_taken(library: Path, growing: Path) -> None:
    time.sleep(SETTLE + 0.2)
    taken, _ = scan(str(library), str(library.parent / "out"), Profile(), SETTLE)
    assert not taken.left
    assert "growing.mp4" in taken.refused  # opened, and found to be no video


def test_without_settling_everything_is_taken(library: Path, growing: Path) -> None:
    assert not any(title.left for title in scan(str(library), str(library.parent / "out"), Profile()))


def test_a_title_that_is_left_is_no_failure_and_no_success() -> None:
    left = Outcome(title="b", state="left", reason="b: changed 1 s ago")
    verdict = _verdict([Outcome(title="a", state="done"), left], standing=0)
    assert (verdict.state, verdict.message) == ("completed", "1 of 1 titles done; b: changed 1 s ago")
    assert _verdict([left], standing=0).state == "completed"
    failed = _verdict([Outcome(title="a", state="failed", reason="a: no"), left], standing=0)
    assert (failed.state, failed.message) == ("failed", "1 of 1 titles are not done: a: no; b: changed 1 s ago")


def test_a_watch_tells_of_each_file_once_and_of_a_growing_one_when_it_is_still(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "first.mp4").write_bytes(b"whole")
    run = Run(library=str(library), output=str(tmp_path / "out"), profile=Profile(), settle=SETTLE)
    looks = watch(run, every=0.05)
    assert next(looks) == ["first.mp4"]
    growing = library / "second.mp4"
    for _ in range(8):  # for longer than a file must be still
        with growing.open("ab") as file:
            file.write(b"a bit more")
        assert list(lying_still(str(library), SETTLE)) == ["first.mp4"]
        time.sleep(SETTLE / 4)
    grown = time.time()
    assert next(looks) == ["second.mp4"]
    assert time.time() - grown >= SETTLE / 2
    (library / "first.mp4").write_bytes(b"replaced")
    assert next(looks) == ["first.mp4"]


def test_a_library_that_is_away_for_a_while_ends_no_watch(tmp_path: Path) -> None:
    run = Run(library=str(tmp_path / "library"), output=str(tmp_path / "out"), profile=Profile())
    looks = watch(run, every=0.05)
    away = tmp_path / "away"
    away.mkdir()
    (away / "film.mp4").write_bytes(b"whole")
    away.rename(tmp_path / "library")
    assert next(looks) == ["film.mp4"]
