"""What a worker's process logs is kept: its own lines and warnings, in order, and no more than so many."""

from __future__ import annotations

import logging

from tasks.pool.said import Said


def record(name: str, level: int, words: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, words, args, None)


def test_own_lines_and_warnings_of_others_are_kept() -> None:
    said = Said()
    for line in (
        record("remaster.worker", logging.INFO, "loaded in %.1f s", 1.25),
        record("httpx", logging.INFO, "a request"),
        record("py.warnings", logging.WARNING, " a kernel is of no use\n"),
        record("remaster.worker", logging.DEBUG, "details"),
    ):
        if line.levelno >= said.level:
            said.handle(line)
    kept = [(line.number, line.level, line.words) for line in said.since(0)]
    assert kept == [(1, logging.INFO, "loaded in 1.2 s"), (2, logging.WARNING, "a kernel is of no use")]
    assert [line.number for line in said.since(1)] == [2]
    assert said.since(2) == []


def test_only_the_latest_are_kept_and_numbers_go_on() -> None:
    said = Said()
    for number in range(1200):
        said.handle(record("remaster", logging.INFO, "%d", number))
    lines = said.since(0)
    assert [line.number for line in lines] == list(range(701, 1201))
    assert lines[-1].words == "1199"
