"""Masters that wait for a person, and what persons decided: one small record for each master's place, in the store.

No process waits with them. Whoever comes next, a night, a command or a form, reads the record and goes on from there.
Knows neither how a master is made nor how one is published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tasks.errors import RemasterError
from tasks.records import CheckResult, Fault, MasterRecord, Revision, Title, content_key, from_sealed, to_sealed
from tasks.store import Store, stat

State = Literal["waiting", "approved", "rejected", "settled"]


@dataclass(frozen=True)
class Decision:
    """What a person said of a master.

    Attributes:
        verdict: "approved" or "rejected".
        by: who, as they call themselves.
        at: when, in UTC, ISO 8601.
        note: in their words.
        sha256: of the master they spoke of.
        accepted: what its check had found, and they accepted.
        shards: frames [start, stop) that they rejected.
    """

    verdict: Literal["approved", "rejected"]
    by: str
    at: str
    note: str
    sha256: str
    accepted: tuple[str, ...] = ()
    shards: tuple[tuple[int, int], ...] = ()

    @property
    def words(self) -> str:
        """Who said what and when, for a person."""
        return f"{self.verdict} by {self.by} on {self.at}" + (f": {self.note}" if self.note else "")


@dataclass(frozen=True)
class Hold:
    """A master whose picture a person is to judge, or has judged.

    Attributes:
        state: "waiting" for a person; "approved"; "rejected": its shards are to be made otherwise; "settled": they
            were, and the master that came of it is published.
        run: id of the run that found the faults.
        title: as scanned then.
        output: root URI that the master is for.
        plan: hash of how the title is cut and made, but for its revisions: with another one this is void.
        key, sha256, size: of the master.
        uri: where its bytes wait.
        faults: of its picture.
        broken: every contract that its check found broken, those faults among them, in words.
        shots: pictures at which a shot begins, the first one counted.
        shards: pictures [start, stop) of each shard.
        revisions: shards that are made otherwise, by what was decided so far.
        decisions: of persons, the latest last.
        of_run: shards that its run, or a later one that found the same, was asked to make otherwise.
    """

    state: State
    run: str
    title: Title
    output: str
    plan: str
    key: str
    sha256: str
    size: int
    uri: str
    faults: tuple[Fault, ...]
    broken: tuple[str, ...]
    shots: tuple[int, ...]
    shards: tuple[tuple[int, int], ...]
    revisions: tuple[Revision, ...] = ()
    decisions: tuple[Decision, ...] = ()
    of_run: tuple[Revision, ...] = ()

    @property
    def faulty(self) -> tuple[int, ...]:
        """Numbers of the shards that have faults."""
        return self.touched((fault.start, fault.stop) for fault in self.faults)

    @property
    def seen(self) -> tuple[str, str, tuple[str, ...], tuple[Fault, ...]]:
        """The master and all that was found wrong with it: what a person speaks of."""
        return self.key, self.sha256, self.broken, self.faults

    def touched(self, stretches: Iterable[tuple[int, int]]) -> tuple[int, ...]:
        """Numbers of the shards that have pictures of any of these stretches [start, stop)."""
        wanted = list(stretches)
        return tuple(
            number
            for number, (start, stop) in enumerate(self.shards)
            if any(start < last and first < stop for first, last in wanted)
        )

    def shot(self, number: int) -> tuple[int, int]:
        """Pictures [start, stop) of a shot. Raises IndexError if there is none of this number."""
        if number < 0:
            raise IndexError(number)
        ends = (*self.shots[1:], self.shards[-1][1])
        return self.shots[number], ends[number]

    def accepts(self, master: MasterRecord, check: CheckResult) -> bool:
        """True if a person has approved this master, and its check finds nothing that they did not see."""
        if not self.is_approved(master.key, master.sha256, check.faults):
            return False
        return set(broken(check)) <= set(self.decisions[-1].accepted)

    def is_approved(self, key: str, sha256: str, faults: Iterable[Fault]) -> bool:
        """True if a person has approved the master of this key and with these bytes, and saw these faults of it."""
        return self.state == "approved" and (self.key, self.sha256) == (key, sha256) and set(faults) <= set(self.faults)

    def source_stands(self) -> bool:
        """False if the source changed since."""
        try:
            found = stat(self.title.uri)
        except (FileNotFoundError, RemasterError):
            return False
        return (found.size, found.stamp) == (self.title.size, self.title.stamp)

    def overlay(self, revisions: Collection[Revision], run: str = "") -> tuple[Revision, ...]:
        """What a run asks to be made otherwise and what was decided, in the order in which they count: the last wins.

        What a run only carries over from the one that found the faults is what the person saw and decided of.

        Args:
            revisions: of the title, as the run asks for them.
            run: its id.
        """
        seen = {replace(revision, again=False) for revision in self.of_run}
        carried = [revision for revision in revisions if run == self.run or revision in seen]
        return (*carried, *self.revisions, *(revision for revision in revisions if revision not in carried))

    def made_anew(self) -> tuple[Revision, ...]:
        """Its revisions once they are carried out: what was to be made again was, what is to be otherwise stays."""
        return tuple(replace(revision, again=False) for revision in self.revisions if revision.settings)


def broken(check: CheckResult) -> tuple[str, ...]:
    """What a check found broken, in words."""
    return tuple(f"{name}: {seen}" for name, ok, seen in check.lines if not ok)


def hold_place(master: str, leaf: str = "hold.json") -> str:
    """Store key of what is kept of the hold of a master, by the URI of the master's place."""
    key = content_key({"place": master})
    return f"holds/{key[:2]}/{key}/{leaf}"


def read_hold(master: str, store: Store) -> Hold | None:
    """The hold of a master's place, or None; a damaged one counts as none, and is found anew by the next run."""
    try:
        return from_sealed(Hold, store.read(hold_place(master)))
    except (FileNotFoundError, ValueError):
        return None


def write_hold(hold: Hold, store: Store) -> str:
    """Keep a hold, in the place of an earlier one of the same master's place; returns its URI."""
    place = hold_place(_master(hold))
    store.write(place, to_sealed(hold))
    return store.uri(place)


def drop_hold(hold: Hold, store: Store) -> None:
    """Remove all that is kept of a hold, the record first."""
    for leaf in ("hold.json", "receipt.json", "review.html"):
        store.delete(hold_place(_master(hold), leaf))


def list_holds(store: Store) -> list[Hold]:
    """Every hold of a store, by title's name."""
    found = []
    for file in store.list("holds"):
        if file.endswith("/hold.json"):
            try:
                found.append(from_sealed(Hold, store.read(file)))
            except (FileNotFoundError, ValueError):
                continue
    return sorted(found, key=lambda hold: (hold.title.name, hold.output))


def _master(hold: Hold) -> str:
    return Store(hold.output).uri(hold.title.master)
