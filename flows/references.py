"""What the runs of a store hold on to: the shards their tables speak of, and which of them may still go on.

Read from the store alone. Knows nothing of segments and records.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field

from tasks.errors import UsageError
from tasks.seal import opened
from tasks.store import Store
from tasks.tables import read_shards_table


@dataclass(frozen=True)
class References:
    """What runs speak of.

    Attributes:
        shards: key of a shard to what a person calls it.
        without_verdict: ids of runs that go on, or were cut off: nothing tells the two apart from here.
        unreadable: URIs of tables that cannot be read, with the reason.
    """

    shards: dict[str, str] = field(default_factory=dict)
    without_verdict: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)


def read_references(store: Store) -> References:
    """Go through every run of a store. Raises StoreError if the store does not answer."""
    files = store.list("runs")
    runs = sorted({file.split("/")[1] for file in files if file.count("/") >= 2})
    shards: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    ended = set()
    for file in files:
        _, run, *rest = file.split("/")
        if not rest:
            continue
        try:
            if rest[0] == "shards.parquet":
                shards |= {shard.key: shard.name for shard in read_shards_table(store.read(file))}
            elif rest == ["verdict.json"] and json.loads(opened(store.read(file))):
                ended.add(run)
        except (OSError, ValueError) as error:
            unreadable[store.uri(file)] = f"cannot be read ({str(error).splitlines()[0]})"
    return References(shards, tuple(run for run in runs if run not in ended), unreadable)


def needed_shards(store: Store, cut_off: Collection[str]) -> frozenset[str]:
    """Keys of all shards that some run speaks of, where it is certain that no others are.

    Args:
        store: whose runs.
        cut_off: runs without a verdict of which a person knows that they are over.

    Raises:
        UsageError: it is not certain: a run may still go on, a table cannot be read, or there is no run at all.
    """
    references = read_references(store)
    untouched = "Nothing is removed."
    for table, why in references.unreadable.items():
        raise UsageError(f"{table}: {why}, so what that run needs is not known. {untouched} Restore it from a copy.")
    going_on = [run for run in references.without_verdict if run not in cut_off]
    if going_on:
        raise UsageError(
            f"run {going_on[0]}: has no verdict, so it may be going on. {untouched} Wait until it has ended; if it was"
            f" cut off, and is surely over, say so with --cut-off {going_on[0]}."
        )
    if not references.shards:
        raise UsageError(
            f"{store.root}: no run here speaks of any shard, so all would go. {untouched} Name the store itself (by"
            " default OUTPUT/.remaster); one that no run needs can be deleted as a whole."
        )
    return frozenset(references.shards)
