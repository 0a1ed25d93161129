"""What doing a run again means: which of its titles, which of its shards, and what is to be otherwise this time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flows.request import Rerun
from flows.run import Outcome, Run, RunFiles
from tasks.errors import UsageError
from tasks.hold import Hold, read_hold
from tasks.parts import whole_of
from tasks.profile import is_of_shards, with_settings
from tasks.records import Revision, Shard, Title
from tasks.scan import matching
from tasks.store import Store


def again(files: RunFiles, run_id: str, asked: Rerun) -> Run:
    """The run that does another one again.

    If no shards are rejected it works on what is missing or failed; with other settings, on what these change. Else it
    makes these shards of one title anew: by the settings, or, without any, as they were. Their neighbours stay as they
    are, and so does what earlier repetitions asked to be otherwise.

    Args:
        files: of the run.
        run_id: of the new one.
        asked: what is to be done of it, and otherwise; its store and run are those of `files`.

    Raises:
        UsageError: there are no such titles or shards, or the settings are none for them.
    """
    before = files.read_run()
    titles, shards, settings = asked.title, asked.shards, asked.settings
    kept = _kept(before)
    changes: dict[str, Any] = {
        "id": run_id, "rerun_of": before.id, "force": False, "titles": titles or before.titles,
        "workers": asked.workers or before.workers, "ray_address": asked.ray_address or before.ray_address,
    }  # fmt: skip
    if titles and not matching(files.read_titles(), titles):
        whole = whole_of(titles)
        if not matching(files.read_titles(), whole):
            raise UsageError(f"--title {titles}: run {before.id} has no title of such a name.")
        if shards:
            raise UsageError(
                f"--shard: {titles} is a part of {whole}, whose shards have no numbers here. Reject them when a person"
                " is asked (check.picture), or run the title again with other settings."
            )
        titles = changes["titles"] = whole
    if not shards:
        if asked.reason:
            raise UsageError("--reason says why shards are rejected: name them with --shard.")
        profile = with_settings(before.profile, settings)
        return before.model_copy(update={**changes, "profile": profile, "revisions": kept})
    with_settings(before.profile, settings)  # whatever is not a setting at all is said first
    cut, title, there = _find(files, before, titles, shards)
    name, rejected = title.name, [shard for shard in there if shard.index in shards]
    # What was decided when the title was made counts too, where it only stood since.
    decided = [each for each in _kept(cut) if each.title == name]
    ranges = [(shard.start, shard.stop) for shard in rejected]
    known: tuple[Revision, ...] = (*decided, *kept)
    if hold := _hold(files, before, title, there):
        known = replace(hold, revisions=tuple(r for r in hold.revisions if (r.start, r.stop) in ranges)).overlay(known)
    revisions = rejecting(before, name, ranges, asked.reason, settings, known)
    return before.model_copy(update={**changes, "titles": name, "revisions": revisions})


def rejecting(
    before: Run,
    title: str,
    rejected: Sequence[tuple[int, int]],
    reason: str,
    settings: dict[str, Any],
    known: Sequence[Revision],
) -> tuple[Revision, ...]:
    """The revisions that have shards made anew: by the `settings`, or, without any, as they were.

    Args:
        before: the run that made them.
        title: whose they are.
        rejected: their frames, [start, stop).
        reason: why.
        settings: dotted names and values.
        known: revisions that stay, unless they are of the same shards.

    Raises:
        UsageError: the settings are none for single shards.
    """
    with_settings(before.profile, settings)  # whatever is not a setting at all is said first
    for name in settings:
        if not is_of_shards(name):
            raise UsageError(
                f"--with {name}: is the same for all shards of a title. Leave out --shard, or the setting."
            )
    found = {(revision.title, revision.start): revision for revision in known}
    for start, stop in rejected:
        standing = found.get((title, start), Revision(title, start, stop))
        otherwise = _otherwise(before, settings) if settings else standing.settings
        found[title, start] = replace(standing, settings=otherwise, reason=reason, again=otherwise == standing.settings)
    return tuple(found.values())


def _kept(run: Run) -> tuple[Revision, ...]:
    """A run's revisions; what was made again is not wanted once more."""
    return tuple(replace(revision, again=False) for revision in run.revisions if revision.settings)


def _otherwise(before: Run, settings: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The settings, checked; none if they are what the rest of the run has."""
    changed = with_settings(before.profile, settings) != before.profile
    return tuple(sorted(settings.items())) if changed else ()


def _hold(files: RunFiles, before: Run, title: Title, shards: list[Shard]) -> Hold | None:
    """What persons decided of the title's shards as this run cuts and makes them."""
    hold = read_hold(Store(before.output).uri(title.master), files.store)
    if hold is None or hold.shards != tuple((shard.start, shard.stop) for shard in shards):
        return None
    try:
        profile = RunFiles(files.store, hold.run).read_run().profile
    except FileNotFoundError:
        return None
    one, other = (each.model_dump(exclude={"retry", "cost", "check", "master"}) for each in (profile, before.profile))
    return hold if one == other else None


def _find(files: RunFiles, before: Run, titles: str, numbers: list[int]) -> tuple[Run, Title, list[Shard]]:
    """The one title that is meant, the run that cut it, and its shards, these numbers among them."""
    found = matching(files.read_titles(), titles)
    if len(found) != 1:
        names = ", ".join(title.name for title in found[:5])
        raise UsageError(f"--shard is of one title: name it with --title. Run {before.id} has {names}.")
    (title,) = found
    run, shards = _cut(files, before, title)
    known = {shard.index: shard for shard in shards}
    for number in numbers:
        if number not in known:
            raise UsageError(f"--shard {number}: {title.name} has shards 0 to {max(known)} in run {run.id}.")
    return run, title, [known[number] for number in sorted(known)]


def _cut(files: RunFiles, before: Run, title: Title) -> tuple[Run, list[Shard]]:
    """The run that cut a title into shards, and these: this one or, where its master only stood, the one that made it.

    The latest that made its master is the one: it noted what stands.
    """
    if shards := files.read_shards(title):
        return before, shards
    outcome = files.read_outcome(title)
    if outcome is None or not _is_made(outcome):
        raise UsageError(f"{title.name}: run {before.id} did not come to cut it into shards; there is none to reject.")
    for earlier in files.earlier():
        made = earlier.read_outcome(title)
        shards = earlier.read_shards(title) if made is not None and _is_made(made) else []
        same = shards and [each.uri for each in earlier.read_titles(title.name)] == [title.uri]
        if same and (run := earlier.read_run()).output == before.output:
            return run, shards
    raise UsageError(
        f"{title.name}: its master stood in run {before.id}, and the run that made it is not in the store any more. Run"
        " the library without --new-only, which takes no work but looking, and reject the shard of that run."
    )


def _is_made(outcome: Outcome) -> bool:
    """True of a title whose master was made; one that waits, or waited until it was approved, was."""
    return outcome.state == "done" or (outcome.state == "held" and outcome.master != "")
