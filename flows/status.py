"""How a run stands, in words, from its store alone: no Prefect, no Ray."""

from __future__ import annotations

from collections import defaultdict

from flows.run import RunFiles


def describe(files: RunFiles) -> str:
    """A few lines on the run and one on each title."""
    run, verdict = files.read_run(), files.read_verdict()
    titles, shards, ledger = files.read_titles(), files.read_shards(), files.read_ledger()
    outcomes = {outcome.title: outcome for outcome in files.read_outcomes()}
    planned: dict[str, int] = defaultdict(int)
    ended: dict[str, set[int]] = defaultdict(set)
    failures: dict[str, int] = defaultdict(int)
    for shard in shards:
        planned[shard.title] += 1
    for row in ledger:
        if row.outcome == "failed":
            failures[row.title] += 1
        else:
            ended[row.title].add(row.index)
    lines = [
        f"run {run.id}: {verdict.state if verdict else 'running, or cut off (`remaster rerun` goes on from here)'}",
        f"library {run.library}  masters {run.output}  model {run.profile.model} x{run.profile.scale}",
    ]
    for title in titles:
        outcome = outcomes.get(title.name)
        if outcome is not None:
            said = outcome.master if outcome.state == "done" else outcome.reason
            lines.append(f"  {outcome.state:<8} {title.name}  {said}")
        else:
            of = f"{len(ended[title.name])}/{planned[title.name]} shards" if planned[title.name] else "not planned yet"
            lines.append(f"  {'':<8} {title.name}  {of}")
        if failures[title.name]:
            lines.append(f"  {'':<8}   {failures[title.name]} failed attempts")
    attempts = sum(row.outcome == "done" for row in ledger)
    hits = sum(row.outcome == "cached" for row in ledger)
    lines.append(f"{attempts} shards worked on, {hits} cached, {sum(failures.values())} failed attempts")
    return "\n".join(lines)
