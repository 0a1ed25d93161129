"""Everything that is wrong with a master's pictures, and what follows by the profile's policies. Decodes nothing.

A fault is let pass and said ("report"), keeps the master back until a person has judged it ("hold"), or ends the title
with exceptions ("fail"). What the master carries besides its picture is no matter of judgement: see `docs/checks.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from tasks.grades import Grades
from tasks.judge import faults
from tasks.media.contract.likeness import Likeness
from tasks.plan import Plan
from tasks.profile import Profile
from tasks.records import Fault, Record

Policy = Literal["fail", "hold", "report"]

# Faults that are a shard below a floor of the profile; all others are the judge's.
FIDELITY, GRADE = "fidelity", "VMAF-NEG"


def found(
    plan: Plan, profile: Profile, records: list[Record], likeness: Likeness | None, grades: Grades | None
) -> list[Fault]:
    """What is wrong with a title's pictures, by what was measured of them.

    Args:
        plan: of the title.
        profile: has the floors.
        records: one a shard, in order.
        likeness: of the master to its source; None if nobody wants to know.
        grades: of its shards; None likewise.
    """
    seen = faults(likeness, plan.shards, plan.cuts) if likeness is not None else []
    return [*seen, *_too_unlike(profile, records), *(_too_low(plan, profile, grades) if grades else ())]


def policy(fault: Fault, profile: Profile) -> Policy:
    """What follows from a fault."""
    if fault.name in (FIDELITY, GRADE):
        return profile.check.below
    return "report" if profile.check.picture == "off" else profile.check.picture


def may_wait(profile: Profile) -> bool:
    """True if some kind of fault keeps a master back."""
    return "hold" in (profile.check.picture, profile.check.below)


def has_to_wait(seen: Iterable[Fault], profile: Profile) -> bool:
    """True if one of these faults keeps the master back."""
    return any(policy(fault, profile) == "hold" for fault in seen)


def _too_unlike(profile: Profile, records: list[Record]) -> Iterator[Fault]:
    floor = profile.check.fidelity
    for record in records:
        if not record.fidelity >= floor:
            seen = f"does not look like its source: {record.fidelity:.1f} dB, at least {floor:.1f} dB wanted"
            yield Fault(FIDELITY, record.least_alike, record.least_alike + 1, seen)


def _too_low(plan: Plan, profile: Profile, grades: Grades) -> Iterator[Fault]:
    floor = profile.check.vmaf
    for shard, grade in zip(plan.shards, grades.shards, strict=bool(grades.shards)):
        if not grade.vmaf_neg >= floor:
            seen = f"{grade.vmaf_neg:.1f} against the source, at least {floor:.1f} wanted"
            yield Fault(GRADE, shard.start, shard.stop, seen)
