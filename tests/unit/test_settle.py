"""A file that still changes is left for a later run: neither opened nor lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.budget import Spending
from flows.library import _verdict
from flows.run import Outcome
from flows.watching import A_DAY, Watched
from tasks.profile import CostSettings, Profile
from tasks.scan import scan
from tasks.tables import read_titles_table, titles_table
from tests.clips import Clip, make

SETTLE = 0.6


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


def test_what_still_changes_guards_the_place_of_its_master(library: Path) -> None:
    """Two sources of one master are refused; while one of them is not opened yet, neither becomes that master."""
    (library / "still.mkv").write_bytes(b"only the beginning")
    try:
        found = {title.name: title for title in scan(str(library), str(library.parent / "out"), Profile(), SETTLE)}
    finally:
        (library / "still.mkv").unlink()
    assert found["still.mkv"].left
    assert found["still.mp4"].left == (
        "still.mp4: is left for a later run, as still.mkv still changes and may get the same master (still.mp4)."
    )


def test_without_settling_everything_is_taken(library: Path, growing: Path) -> None:
    assert not any(title.left for title in scan(str(library), str(library.parent / "out"), Profile()))


def test_a_title_that_is_left_is_no_failure_and_no_success() -> None:
    left = Outcome(title="b", state="left", reason="b: changed 1 s ago")
    verdict = _verdict([Outcome(title="a", state="done"), left], standing=0, spending=Spending(CostSettings()))
    assert (verdict.state, verdict.message) == ("completed", "1 of 1 titles done; b: changed 1 s ago")
    assert _verdict([left], standing=0, spending=Spending(CostSettings())).state == "completed"
    failed = _verdict(
        [Outcome(title="a", state="failed", reason="a: no"), left], standing=0, spending=Spending(CostSettings())
    )
    assert (failed.state, failed.message) == ("failed", "1 of 1 titles are not done: a: no; b: changed 1 s ago")


def test_a_growing_file_is_new_once_and_only_when_it_lies_still(tmp_path: Path) -> None:
    (tmp_path / "first.mp4").write_bytes(b"whole")
    time.sleep(SETTLE + 0.2)
    watched = Watched(str(tmp_path), SETTLE)
    assert watched.new() == ["first.mp4"]
    watched.take()
    growing = tmp_path / "second.mp4"
    for _ in range(5):  # for longer than a file must lie still
        with growing.open("ab") as file:
            file.write(b"a bit more")
        time.sleep(SETTLE / 4)
        assert watched.new() == []
    time.sleep(SETTLE)
    assert watched.new() == watched.new() == ["second.mp4"]  # until somebody takes it
    watched.take()
    (tmp_path / "first.mp4").write_bytes(b"replaced")
    time.sleep(SETTLE + 0.2)
    assert watched.new() == ["first.mp4"]


def test_only_what_is_meant_is_new(tmp_path: Path) -> None:
    watched = Watched(str(tmp_path), 0.0, "season 1/*.mkv")
    for name in ("other.mkv", "season 1/a.mp4", "season 1/b.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"whole")
    assert watched.new() == ["season 1/b.mkv"]


def test_a_file_that_was_merely_touched_by_others_is_not_new_again(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"whole")
    watched = Watched(str(tmp_path), 0.0)
    watched.new()
    watched.take()
    film.chmod(0o600)
    assert watched.new() == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass for who watches."""
    now = time.monotonic()

    def passing(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("flows.watching.time.monotonic", lambda: now)
    return passing


def test_what_came_to_no_end_is_new_again_after_pauses_that_grow_to_a_day(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    film, watched = tmp_path / "film.mp4", Watched(str(tmp_path), 0.0, pause=30.0)
    film.write_bytes(b"whole")
    (tmp_path / "done.mp4").write_bytes(b"whole")
    watched.new()
    for pause in (30, 60, 120, 240, *(240 * 2**n for n in range(1, 9)), A_DAY, A_DAY):
        watched.take(ended={"done.mp4"})
        clock(pause - 1)
        assert watched.new() == []
        clock(1)
        assert watched.new() == ["film.mp4"]
    watched.take(ended={"done.mp4"})
    film.write_bytes(b"replaced")
    assert watched.new() == ["film.mp4"]  # what is another file need not wait
    watched.take(ended={"done.mp4"})
    clock(30)
    assert watched.new() == ["film.mp4"]
    watched.take(ended={"done.mp4", "film.mp4"})
    clock(2 * A_DAY)
    assert watched.new() == []


def test_nothing_is_new_while_there_is_to_be_rest(tmp_path: Path, clock: Callable[[float], None]) -> None:
    watched = Watched(str(tmp_path), 0.0)
    watched.rest(A_DAY)
    (tmp_path / "film.mp4").write_bytes(b"whole")
    clock(A_DAY - 1)
    assert watched.new() == []
    clock(1)
    assert watched.new() == ["film.mp4"]
