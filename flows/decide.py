"""A person's decision on a master that waits, as the commands `approve` and `reject` make it and Prefect's form does.

All of it is in the store: it needs neither Prefect nor Ray, nor the run that found the faults.
"""

from __future__ import annotations

import argparse
import fnmatch
import getpass
import logging
import re
import shlex
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.arguments import GOOD, add_command, add_field, add_store, place, requested, require_usable
from flows.described import words
from flows.request import Answer

if TYPE_CHECKING:
    from flows.run import Run
    from tasks.hold import Hold
    from tasks.store import Store

_LOG = logging.getLogger("remaster.decide")
_RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-z]+")

Settings = Callable[[str, list[str]], dict[str, Any]]


def add_commands(commands: Any, settings: Settings) -> None:
    """Add them to the command line; `settings` reads NAME=VALUE."""
    approve = add_command(commands, "approve", _approve, "publish a master that waits for a person")
    reject = add_command(
        commands, "reject", lambda given: _reject(given, settings), "have shots of a master that waits made otherwise"
    )
    for command, note in ((approve, "--note"), (reject, "--reason")):
        command.add_argument("what", metavar="TITLE|RUN", help="name of a title, a glob, or all that a run held back")
        add_store(command, "the run's store", "where this user's run of that id, or the latest, was")
        command.add_argument("--by", metavar="NAME", default="", help=f"{words(Answer, 'by')} (default: USER@HOST)")
        add_field(command, Answer, "note", note, metavar="TEXT")
    add_field(reject, Answer, "shots", "--shots", metavar="N,N,...", action="store", default="")
    add_field(reject, Answer, "shards", "--shard", metavar="N", type=int)
    add_field(reject, Answer, "settings", "--with", metavar="NAME=VALUE")


def _approve(given: argparse.Namespace) -> int:
    return _decide(given, decision="approve")


def _reject(given: argparse.Namespace, settings: Settings) -> int:
    from tasks.errors import UsageError

    shots = [text.strip() for text in given.shots.split(",") if text.strip()]
    if not all(text.isdecimal() for text in shots):
        raise UsageError(f"--shots {given.shots}: write numbers, from 0 on, with commas between them.")
    return _decide(given, decision="reject", shots=list(map(int, shots)), settings=settings("--with", given.settings))


def _decide(given: argparse.Namespace, **said: Any) -> int:
    from tasks.errors import UsageError

    by = given.by or f"{getpass.getuser()}@{socket.gethostname()}"
    answer = requested(Answer, given, by=by, **said)
    store, holds = _meant(given.what, given.store)
    if len(holds) > 1 and (answer.shots or answer.shards):
        names = ", ".join(hold.title.name for hold in holds[:5])
        raise UsageError(f"{given.what}: shots and shards are of one title: name one of {names}.")
    for hold in holds:
        told: list[str] = []

        def wait(hold: Hold = hold, told: list[str] = told) -> None:
            if not told:
                told.append("once")
                print(f"{hold.title.name}: waiting for the run that is at its master", file=sys.stderr, flush=True)

        print(decide(hold, answer, store, wait), flush=True)
    return GOOD


def decide(hold: Hold, answer: Answer, store: Store, wait: Callable[[], None]) -> str:
    """Carry a decision out; returns what came of it, in a sentence.

    Args:
        hold: the master, as the person saw it.
        answer: what they say.
        store: where the hold is.
        wait: called now and then while a run has the master's place; may raise to leave it.

    Raises:
        UsageError: it cannot be decided so: nothing waits, the source has changed, there is no such shot or setting.
        RemasterError: what waits is lost, or the store does not answer.
    """
    from tasks.errors import UsageError
    from tasks.finish import sole_publisher
    from tasks.hold import read_hold
    from tasks.profile import RetrySettings
    from tasks.store import Store as Output

    output = Output(hold.output)
    name, at = hold.title.name, datetime.now(UTC).isoformat(timespec="seconds")
    with sole_publisher(hold.title, output, RetrySettings().lease, wait) as ours:
        now = read_hold(output.uri(hold.title.master), store)
        if now is None or now.state == "settled" or now.seen != hold.seen:
            raise UsageError(f"{name}: another master waits by now, or none. Look at it first: `remaster status`.")
        if answer.decision == "reject":
            return _have_made_anew(now, answer, at, store)
        from tasks.review import approve

        now, receipt = approve(now, answer.by, at, answer.note, store, ours.confirm)
        _note_standing(now, receipt, store)
    return f"{name}: {now.decisions[-1].words}; the master is at {output.uri(hold.title.master)}"


def _have_made_anew(hold: Hold, answer: Answer, at: str, store: Store) -> str:
    from flows.rerun import rejecting
    from flows.standing import forget
    from tasks.errors import UsageError
    from tasks.profile import with_settings
    from tasks.review import reject

    name, run = hold.title.name, _run_of(hold, store)
    if run is None:
        raise UsageError(f"{name}: what run {hold.run} was asked is not in the store any more. Run the library again.")
    shards = _rejected(hold, answer)
    ranges = [hold.shards[number] for number in shards]
    revisions = rejecting(run, name, ranges, answer.note, answer.settings, hold.revisions)
    for revision in revisions:
        require_usable(with_settings(run.profile, dict(revision.settings)))
    forget(hold.title, run)  # it may have been approved and stand
    reject(hold, answer.by, at, answer.note, shards, revisions, store)
    again = shlex.join(["remaster", "rerun", run.id, "--store", store.root, "--title", name])
    changes = ", ".join(f"{setting}={value}" for setting, value in answer.settings.items())
    how = f"made anew with {changes}" if changes else "made anew"
    named = ", ".join(f"[{start},{stop})" for start, stop in ranges)
    return f"{name}: rejected; {named} will be {how} by the next run over it, for instance: {again}"


def _rejected(hold: Hold, answer: Answer) -> list[int]:
    """Numbers of the shards that are meant."""
    from tasks.errors import UsageError

    name = hold.title.name
    for number in answer.shards:
        if number >= len(hold.shards):
            raise UsageError(f"--shard {number}: {name} has shards 0 to {len(hold.shards) - 1}.")
    for number in answer.shots:
        if number >= len(hold.shots):
            raise UsageError(f"--shots {number}: {name} has shots 0 to {len(hold.shots) - 1}.")
    named = {*answer.shards, *hold.touched(map(hold.shot, answer.shots))}
    return sorted(named or hold.faulty)


def _meant(what: str, store: str) -> tuple[Store, list[Hold]]:
    """What a person names on the command line, and the store it is in."""
    from flows.known import find_store
    from tasks.errors import UsageError
    from tasks.hold import list_holds
    from tasks.store import Store

    is_run = _RUN_ID.fullmatch(what) is not None
    found = Store(place(store)) if store else find_store(what if is_run else "")
    holds = [hold for hold in list_holds(found) if hold.state != "settled"]
    # A title may have the letters of a pattern in its name.
    meant = [hold for hold in holds if hold.title.name == what] or [
        hold
        for hold in holds
        if hold.state == "waiting" and (hold.run == what or fnmatch.fnmatchcase(hold.title.name, what))
    ]
    if not meant:
        waiting = [hold.title.name for hold in holds if hold.state == "waiting"]
        known = f"There wait: {', '.join(waiting[:5])}." if waiting else "None waits."
        raise UsageError(f"{what}: store {found.root} has no master of it that waits for a person. {known}")
    return found, meant


def _run_of(hold: Hold, store: Store) -> Run | None:
    from flows.run import RunFiles

    try:
        return RunFiles(store, hold.run).read_run()
    except FileNotFoundError:
        return None


def _note_standing(hold: Hold, receipt: str, store: Store) -> None:
    """So that the next night need not look at it again."""
    from flows.run import RunFiles
    from flows.standing import Standings
    from tasks.store import Store as Output
    from vsr_model.errors import ModelError

    run = _run_of(hold, store)
    outcome = RunFiles(store, hold.run).read_outcome(hold.title)
    if run is None or outcome is None:
        return
    remark = hold.decisions[-1].words
    done = outcome.model_copy(
        update={
            "state": "done",
            "reason": "",
            "master": Output(hold.output).uri(hold.title.master),
            "remarks": (*outcome.remarks, remark),
        }
    )
    try:
        Standings(run).note(hold.title, done, receipt)
    except ModelError as error:  # the network's weights need not be here
        _LOG.warning("%s: the next run will look at it again: %s", hold.title.name, error)
