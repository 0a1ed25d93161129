"""The plan of a title with what persons decided of its shards in it: what a run makes, and what an estimate counts."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.hold import Hold, read_hold
from tasks.place import require_ours
from tasks.plan import Plan, plan_title, revise
from tasks.profile import Profile
from tasks.records import Revision, Title, content_key
from tasks.store import Store


@dataclass(frozen=True)
class Decided:
    """A plan and what it was made by.

    Attributes:
        plan: of the title, with every revision in it.
        asked: hash of the plan without any.
        hold: of the master's place when it was planned, if there is one, whatever plan it is of.
    """

    plan: Plan
    asked: str
    hold: Hold | None


def plan_decided(
    title: Title, profile: Profile, store: Store, output: Store, revisions: tuple[Revision, ...] = (), run: str = ""
) -> Decided:
    """Plan a title as `plan_title` does, which says what is raised, but for what `require_ours` refuses.

    Args:
        title: as scanned.
        profile: for all of it.
        store: where frame tables, segments and holds are.
        output: where its master goes.
        revisions: what the run asks to be made otherwise, of this title or others.
        run: its id, if there is one yet.
    """
    require_ours(title, output)
    plan = plan_title(title, profile, store)
    asked = content_key({"shards": [shard.key for shard in plan.shards]})
    hold = read_hold(output.uri(title.master), store)
    own = tuple(each for each in revisions if each.title == title.name)
    for revision in hold.overlay(own, run) if hold is not None and hold.plan == asked else own:
        plan = revise(plan, profile, store, revision)
    return Decided(plan, asked, hold)
