"""What doing a run again means: which of its titles, which of its shards, and what is to be otherwise this time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flows.run import Run, RunFiles
from tasks.errors import UsageError
from tasks.profile import is_of_shards, with_settings
from tasks.records import Revision, Shard
from tasks.scan import matching


def again(files: RunFiles, run_id: str, titles: str, shards: list[int], reason: str, settings: dict[str, Any]) -> Run:
    """The run that does another one again.

    Without `shards` it works on what is missing or failed; with other `settings`, on what these change. With them it
    makes these shards of one title anew: by the `settings`, or, without any, as they were. Their neighbours stay as
    they are, and so does what earlier repetitions asked to be otherwise.

    Args:
        files: of the run.
        run_id: of the new one.
        titles: glob of names; empty: all.
        shards: rejected ones, by number.
        reason: why they are rejected.
        settings: dotted names and values.

    Raises:
        UsageError: there are no such titles or shards, or the settings are none for them.
    """
    before = files.read_run()
    # What was made again is not wanted once more.
    kept = tuple(replace(revision, again=False) for revision in before.revisions if revision.settings)
    changes: dict[str, Any] = {"id": run_id, "rerun_of": before.id, "force": False, "titles": titles or before.titles}
    if titles and not matching(files.read_titles(), titles):
        raise UsageError(f"--title {titles}: run {before.id} has no title of such a name.")
    if not shards:
        if reason:
            raise UsageError("--reason says why shards are rejected: name them with --shard.")
        profile = with_settings(before.profile, settings)
        return before.model_copy(update={**changes, "profile": profile, "revisions": kept})
    rejected = _find(files, before, titles, shards)
    name = rejected[0].title
    revisions = rejecting(before, name, [(shard.start, shard.stop) for shard in rejected], reason, settings, kept)
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


def _otherwise(before: Run, settings: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The settings, checked; none if they are what the rest of the run has."""
    changed = with_settings(before.profile, settings) != before.profile
    return tuple(sorted(settings.items())) if changed else ()


def _find(files: RunFiles, before: Run, titles: str, numbers: list[int]) -> list[Shard]:
    """The shards of these numbers, of the one title that is meant."""
    names = [title.name for title in matching(files.read_titles(), titles)]
    if len(names) != 1:
        raise UsageError(f"--shard is of one title: name it with --title. Run {before.id} has {', '.join(names[:5])}.")
    known = {shard.index: shard for shard in files.read_shards() if shard.title == names[0]}
    if not known:
        raise UsageError(f"{names[0]}: run {before.id} did not come to cut it into shards; there is none to reject.")
    for number in numbers:
        if number not in known:
            raise UsageError(f"--shard {number}: {names[0]} has shards 0 to {max(known)} in run {before.id}.")
    return [known[number] for number in sorted(set(numbers))]
