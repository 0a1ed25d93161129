"""How a run stands, in words, from its store alone: no Prefect, no Ray. Once, or until it ends."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from flows.run import Outcome, Run, RunFiles, Verdict
from tasks.hold import Hold, list_holds
from tasks.tables import LedgerRow

_LOOK_SECONDS = 2.0
_NAMED = 5


def watch(files: RunFiles, console: Console) -> Verdict:
    """Show how a run stands until it has ended: in place in a terminal, elsewhere whenever something has changed."""
    if not console.is_terminal:
        return _follow(files, lambda text: console.print(Text(text), soft_wrap=True))
    with Live(console=console, auto_refresh=False) as live:
        return _follow(files, lambda text: live.update(Text(text), refresh=True))


def _follow(files: RunFiles, show: Callable[[str], None]) -> Verdict:
    shown = ""
    while True:
        # The verdict first: what is shown last is how it ended.
        verdict, text = files.read_verdict(), describe(files)
        if text != shown:
            show(text)
            shown = text
        if verdict is not None:
            return verdict
        time.sleep(_LOOK_SECONDS)


def describe(files: RunFiles) -> str:
    """A few lines on the run, one on each title, and one on each master of its output that waits for a person."""
    run, verdict = files.read_run(), files.read_verdict()
    titles, shards = files.read_titles(), files.read_shards()
    unended, ledger = files.read_unended(), files.read_ledger()
    outcomes = {outcome.title: outcome for outcome in files.read_outcomes()}
    holds = [hold for hold in list_holds(files.store) if hold.output == run.output]
    planned: dict[str, int] = defaultdict(int)
    ended: dict[str, set[int]] = defaultdict(set)
    failures: dict[str, int] = defaultdict(int)
    failed: dict[tuple[str, int], LedgerRow] = {}
    for shard in shards:
        planned[shard.title] += 1
    for row in ledger:
        if row.outcome == "failed":
            failures[row.title] += 1
            failed[row.title, row.index] = row
        else:
            ended[row.title].add(row.index)
            failed.pop((row.title, row.index), None)
    state: str = verdict.state if verdict else "running, or cut off (`remaster rerun` goes on from here)"
    if verdict and not outcomes:  # no title says why
        state += f": {verdict.message}"
    lines = [
        f"run {run.id}: {state}",
        f"library {run.library}  masters {run.output}  model {run.profile.model} x{run.profile.scale}",
    ]
    for title in titles:
        outcome = outcomes.get(title.name)
        if outcome is not None:
            said = ", ".join(outcome.masters) if outcome.state == "done" else outcome.reason
            decided = [hold.decisions[-1].words for hold in holds if _decides(hold, run, outcome)]
            lines.append(f"  {outcome.state:<8} {title.name}  {decided[0] if decided else said}")
        else:
            of = f"{len(ended[title.name])}/{planned[title.name]} shards" if planned[title.name] else "not planned yet"
            lines.append(f"  {'':<8} {title.name}  {of}")
        if failures[title.name]:
            lines.append(f"  {'':<8}   {failures[title.name]} failed attempts")
        for row in [row for (name, _), row in sorted(failed.items()) if name == title.name][:_NAMED]:
            lines.append(f"  {'':<8}   shard {row.index} [{row.start},{row.stop})  {row.error} on {row.worker or '-'}")
        lost = [row for row in unended if row.title == title.name]
        lines += [f"  {'':<8}   {_without_end(row, ledger, verdict)}" for row in lost[:_NAMED]]
        lines += [f"  {'':<8}   and {len(lost) - _NAMED} more without an end"] if len(lost) > _NAMED else []
    attempts = sum(row.outcome == "done" for row in ledger)
    hits = sum(row.outcome == "cached" for row in ledger)
    if verdict is None and ledger:
        when = datetime.fromtimestamp(ledger[-1].time, UTC)
        lines.append(f"last attempt ended {when:%Y-%m-%d %H:%M:%S} UTC, on {ledger[-1].worker or ledger[-1].driver}")
    without = f", {len(unended)} attempts whose end is not noted" if unended else ""
    lines.append(f"{attempts} shards worked on, {hits} cached, {sum(failures.values())} failed attempts{without}")
    lines += [f"waits for a person: {_on_hold(hold)}" for hold in holds if hold.state == "waiting"]
    lines += [f"rejected, for the next run: {_on_hold(hold)}" for hold in holds if hold.state == "rejected"]
    return "\n".join(lines)


def _without_end(row: LedgerRow, ledger: list[LedgerRow], verdict: Verdict | None) -> str:
    """An attempt that was begun, and what became of it as far as the store knows."""
    when = f"{datetime.fromtimestamp(row.began, UTC):%Y-%m-%d %H:%M:%S} UTC"
    after = any(other.key == row.key and other.time > row.began for other in ledger)
    state = "lost with its driver" if after or verdict is not None else "in hand, or lost with its driver"
    return f"shard {row.index} [{row.start},{row.stop})  begun {when} on {row.worker} by {row.driver}: {state}"


def _decides(hold: Hold, run: Run, outcome: Outcome) -> bool:
    """True if a person has decided what this run held back."""
    return hold.run == run.id and hold.title.name == outcome.title and hold.state in ("approved", "rejected")


def _on_hold(hold: Hold) -> str:
    if hold.state == "rejected":
        return f"{hold.title.name}  {hold.decisions[-1].words}"
    found = ", ".join(sorted({fault.name for fault in hold.faults}))
    return f"{hold.title.name}  {found}; {hold.uri}; `remaster approve` or `remaster reject`"
