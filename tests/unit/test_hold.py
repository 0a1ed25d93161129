"""The life of a hold, without Prefect and Ray: a master waits, and every way on from there, also when it is cut off."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect.context import AssetContext

from flows import budget, gate, reporting
from flows.assets import asset, describe, nothing_made
from flows.budget import why_not
from flows.decide import _meant, decide
from flows.planning import show_plan
from flows.request import Answer, Rerun
from flows.rerun import again as rerun
from flows.run import Outcome, Run, RunFiles
from flows.standing import Standings
from flows.title import _publish
from tasks import judge, verdict
from tasks.check import check_master
from tasks.decided import Decided, plan_decided
from tasks.errors import LeaseLost, StoreDamaged, UsageError
from tasks.finish import held_place, master_key, publish_title, published_master
from tasks.hold import Hold, broken, drop_hold, list_holds, read_hold
from tasks.media.writing.codecs import EncodeSettings
from tasks.media.writing.master import write_master
from tasks.pictures import likeness_of, pictures_of
from tasks.plan import plan_title, revise
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import Profile, read_profile
from tasks.receipt import from_bytes, make_receipt, receipt_place
from tasks.records import CheckResult, Fault, MasterRecord, Record, Revision, Work, to_json
from tasks.review import approve, hold_again, settle, still_approved
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from vsr_model.errors import WeightsError

SETTINGS = {"scale": 2, "shards.frames": 10, "master.preset": "ultrafast", "check.picture": "hold"}
FAULT = Fault("black", 14, 15, "black, and the source's are not")
RUN, PLAN, AT = "20260101-000000-aaaa", "a plan", "2026-01-01T00:00:00+00:00"


class Held:
    """A film in three shards of which the judge finds fault with the second."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, root: str = "") -> None:
        self.source = make(folder / "films" / "film.mkv", Clip(frames=25, cuts=(12,)))
        self.output, self.store = Store(f"{root or folder}/out"), Store(f"{root or folder}/store")
        self.profile = read_profile(None, SETTINGS)
        self.found = [FAULT]
        monkeypatch.setattr(f"{verdict.__name__}.{judge.faults.__name__}", lambda *_: self.found)
        (self.title,) = scan(str(self.source), self.output.root, self.profile)
        self.plan = plan_title(self.title, self.profile, self.store)
        self.worker = ShardWorker(WorkerSettings(self.profile.model, threads=1))
        self.records = [self.worker.upscale(work) for work in self.plan.work]
        self.frames: list[int] = []
        run = Run(
            id=RUN, library=str(self.source.parent), output=self.output.root, store=self.store.root,
            profile=self.profile,
        )  # fmt: skip
        RunFiles(self.store, RUN).write_run(run)

    def have_another_encoder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on the same orders give other bytes."""

        def write(path: str, container: Any, source: Any, probe: Any, settings: EncodeSettings, *rest: Any) -> Any:
            return write_master(path, container, source, probe, replace(settings, quality=20), *rest)

        monkeypatch.setattr("tasks.finish.write_master", write)

    @property
    def key(self) -> str:
        return master_key(self.plan, self.profile, self.records, self.output)

    @property
    def master(self) -> Path:
        return Path(self.output.uri(self.title.master))

    @property
    def waiting(self) -> Path:
        return Path(self.output.uri(held_place(self.key, self.title)))

    def publish(self) -> MasterRecord:
        """What a run's finish does; `frames` says what it encoded."""
        self.frames.clear()
        return publish_title(
            self.plan, self.profile, self.records, self.store, self.output, self.frames.append, lambda: None
        )

    def planned(self, run: Run) -> Decided:
        """What a run's plan is, with what was decided in it."""
        return plan_decided(self.title, self.profile, self.store, self.output, run.revisions, run.id)

    def check(self, master: MasterRecord) -> CheckResult:
        likeness = likeness_of(master, self.plan, self.store)
        return check_master(self.plan, self.profile, master, self.records, likeness)

    def hold(self, master: MasterRecord, plan: str = PLAN, of_run: tuple[Revision, ...] = ()) -> Hold:
        """What a run's gate does."""
        check = self.check(master)
        found = Hold(
            "waiting", RUN, self.title, self.output.root, plan, master.key, master.sha256, master.size, master.uri,
            check.faults, broken(check), (0, 12), tuple((s.start, s.stop) for s in self.plan.shards),
            revisions=of_run, of_run=of_run,
        )  # fmt: skip
        sums = pictures_of(master, self.store)
        receipt = make_receipt(self.plan, self.profile, self.records, master, check, sums)
        hold_again(found, self.kept, receipt, self.store)
        assert self.kept is not None
        return self.kept

    @property
    def kept(self) -> Hold | None:
        return read_hold(self.output.uri(self.title.master), self.store)

    def say(self, hold: Hold, **answer: object) -> str:
        return decide(hold, Answer.model_validate({"by": "ann", **answer}), self.store, lambda: None)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(tmp_path, monkeypatch)


def test_a_master_with_faults_is_made_once_and_not_published(held: Held) -> None:
    made = held.publish()
    assert made.uri == str(held.waiting) and held.waiting.exists() and not held.master.exists()
    assert held.frames
    hold = held.hold(made)
    assert (hold.state, hold.faulty, hold.broken) == ("waiting", (1,), (f"shard {held.plan.shards[1].name}: {_SEEN}",))
    assert held.publish() == made and not held.frames
    (record,) = [Path(held.store.uri(file)) for file in _records(held) if file.endswith("hold.json")]
    before = record.stat().st_mtime_ns
    assert held.hold(made) == hold
    assert record.stat().st_mtime_ns == before  # what stands for the next night is not touched
    assert not held.output.exists(receipt_place(held.title.master))


_SEEN = "black, frames [14,15): black, and the source's are not"


def test_a_master_without_faults_is_published_as_ever(held: Held) -> None:
    held.found.clear()
    made = held.publish()
    assert made.uri == str(held.master) and held.master.exists() and not held.waiting.exists()


def test_approving_publishes_those_bytes_and_says_who(held: Held) -> None:
    hold = held.hold(held.publish())
    data = held.waiting.read_bytes()
    said = held.say(hold, decision="approve", note="the print is so")
    assert "approved by ann on " in said and str(held.master) in said
    assert held.master.read_bytes() == data and not held.waiting.exists()
    receipt = from_bytes(held.output.read(receipt_place(held.title.master)))
    (review,) = receipt.reviews
    assert (review.verdict, review.by, review.note, review.accepted) == (
        "approved", "ann", "the print is so", list(hold.broken),
    )  # fmt: skip
    assert receipt.check == list(hold.broken)
    assert held.publish().uri == str(held.master) and not held.frames
    approved = held.kept
    assert approved is not None and approved.accepts(held.publish(), held.check(held.publish()))
    assert "approved by ann" in held.say(approved, decision="approve", by="bob")  # who was first counts
    assert held.kept == approved
    held.found.append(replace(FAULT, start=16, stop=17))
    assert not approved.accepts(held.publish(), held.check(held.publish()))  # nobody has seen that one


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_an_approval_that_is_cut_off_is_carried_out_by_the_next_one(held: Held, commits: int) -> None:
    hold = held.hold(held.publish())
    left = iter(range(commits))

    def lost() -> None:
        if next(left, None) is None:
            raise LeaseLost("cut off here")

    with pytest.raises(LeaseLost):
        approve(hold, "ann", AT, "", held.store, lost)
    now = held.kept
    assert now is not None and now.state == ("waiting" if commits == 0 else "approved")
    assert held.master.exists() == (commits == 2)
    if now.state == "approved":  # or the next run
        assert held.publish().uri == str(held.master) and not held.frames
    held.say(now, decision="approve")
    assert held.master.exists() and not held.waiting.exists()
    assert len(from_bytes(held.output.read(receipt_place(held.title.master))).reviews) == 1


def test_a_rejection_has_the_shards_of_the_chosen_shots_made_otherwise(held: Held) -> None:
    hold = held.hold(held.publish())
    first = held.waiting
    said = held.say(hold, decision="reject", shots=[1], settings={"model": "bicubic"}, note="it rings")
    assert "[6,16), [16,25) will be made anew with model=bicubic" in said  # the shards that have pictures of it
    rejected = held.kept
    assert rejected is not None and rejected.state == "rejected"
    assert all(each.settings == (("model", "bicubic"),) and not each.again for each in rejected.revisions)
    assert [each.start for each in rejected.revisions] == [6, 16]
    assert first.exists() and not held.master.exists()  # a person may think better of it

    for revision in rejected.revisions:
        held.plan = revise(held.plan, held.profile, held.store, revision)
    worker = ShardWorker(WorkerSettings("bicubic", threads=1))
    held.records = [
        worker.upscale(held.plan.work[n]) if n in {r.index for r in held.plan.revised} else record
        for n, record in enumerate(held.records)
    ]
    again = held.hold(held.publish())  # still at fault
    assert again.state == "waiting" and [d.verdict for d in again.decisions] == ["rejected"]
    assert held.waiting.exists() and held.waiting != first and not first.exists()

    held.found.clear()
    held.profile = read_profile(None, {**SETTINGS, "check.picture": "report"})
    published = held.publish()
    settle(again, PLAN, published.key, held.store)
    now = held.kept
    assert now is not None and now.state == "settled" and not held.waiting.exists() and held.master.exists()


def test_without_shots_it_is_what_has_faults_and_without_settings_it_is_made_again(held: Held) -> None:
    held.say(held.hold(held.publish()), decision="reject")
    rejected = held.kept
    assert rejected is not None
    assert [(r.start, r.settings, r.again) for r in rejected.revisions] == [(held.plan.shards[1].start, (), True)]
    assert rejected.made_anew() == ()


@pytest.mark.parametrize("settings", [{"model": "bicubic"}, {}], ids=["otherwise", "as it was"])
def test_what_a_person_rejected_is_not_brought_back_by_a_run_that_carries_it_over(
    held: Held, settings: dict[str, str]
) -> None:
    files = RunFiles(held.store, RUN)
    files.write_titles([held.title])
    files.write_shards(held.title, held.plan.shards)
    asked = rerun(files, RUN, Rerun(store="", shards=[1], reason="dark", settings={"model": "swift"}))
    files.write_run(asked)
    hold = held.hold(held.publish(), held.planned(asked).asked, asked.revisions)
    held.say(hold, decision="reject", settings=settings)
    for run in (rerun(files, "next", Rerun(store="")), asked):  # and the same run, taken up again
        (revised,) = held.planned(run).plan.revised
        assert revised.revision.settings == (("model", settings.get("model", "swift")),)
        assert revised.revision.again == (not settings)
    other = rerun(files, "next", Rerun(store="", shards=[1], reason="as black", settings={"seed": 3}))
    (revised,) = held.planned(other).plan.revised
    assert revised.revision.settings == (("seed", 3),)  # who asks anew, after that, has it so


def test_a_shard_that_is_made_again_as_it_was_is_as_a_person_decided(held: Held) -> None:
    files = RunFiles(held.store, RUN)
    files.write_titles([held.title])
    files.write_shards(held.title, held.plan.shards)
    held.say(held.hold(held.publish()), decision="reject", settings={"model": "bicubic"})
    rejected = held.kept
    assert rejected is not None
    settle(rejected, PLAN, "the key of a clean master", held.store)
    (again,) = rerun(files, "next", Rerun(store="", shards=[1], reason="torn")).revisions
    assert (again.settings, again.again) == ((("model", "bicubic"),), True)
    (other,) = rerun(files, "next", Rerun(store="", shards=[0], reason="torn")).revisions
    assert (other.start, other.settings) == (0, ())  # of the rejected one its own run reads what was decided
    run = files.read_run()
    files.write_run(run.model_copy(update={"profile": Profile(seed=1)}))  # decided of other pictures
    night = RunFiles(held.store, "20260102-000000-bbbb")
    night.write_run(run.model_copy(update={"id": "20260102-000000-bbbb", "profile": held.profile}))
    night.write_titles([held.title])
    night.write_shards(held.title, held.plan.shards)
    (void,) = rerun(night, "next", Rerun(store="", shards=[1], reason="torn")).revisions
    assert (void.settings, void.again) == ((), True)


def test_a_shard_of_an_approved_title_that_only_stands_can_be_rejected(held: Held) -> None:
    files = RunFiles(held.store, RUN)
    files.write_titles([held.title])
    files.write_shards(held.title, held.plan.shards)
    outcome = Outcome(title=held.title.name, state="held", master=str(held.waiting))
    files.write_outcome(held.title, outcome)
    night = RunFiles(held.store, "20260102-000000-bbbb")
    night.write_run(files.read_run().model_copy(update={"id": "20260102-000000-bbbb"}))
    night.write_titles([held.title])
    for state in ("done", "held"):
        night.write_outcome(held.title, outcome.model_copy(update={"state": state}))
        (again,) = rerun(night, "next", Rerun(store="", shards=[1], reason="torn")).revisions
        assert (again.start, again.again) == (held.plan.shards[1].start, True)


def test_what_was_decided_of_a_shard_that_had_to_be_filled_stays_decided(held: Held) -> None:
    shards = held.plan.shards
    bicubic = Revision(held.title.name, shards[1].start, shards[1].stop, (("model", "bicubic"),), "it rings")
    once = Revision(held.title.name, shards[2].start, shards[2].stop, again=True)
    hold = replace(held.hold(held.publish()), state="rejected", revisions=(bicubic, once))
    made = revise(held.plan, held.profile, held.store, bicubic)
    made = revise(made, held.profile, held.store, once)
    filling = replace(bicubic, settings=(("model", "lanczos"),), filled=True)
    filled = revise(made, held.profile, held.store, filling)
    decided = {
        name: gate._revisions(cast(Any, SimpleNamespace(hold=hold, asked=PLAN, planned=plan)))
        for name, plan in (("made", made), ("filled", filled))
    }
    assert decided == {"made": (bicubic,), "filled": (bicubic,)}
    filled = revise(made, held.profile, held.store, replace(once, settings=filling.settings, filled=True))
    assert gate._revisions(cast(Any, SimpleNamespace(hold=hold, asked=PLAN, planned=filled))) == (bicubic, once)


def test_another_policy_releases_what_was_held(held: Held) -> None:
    hold = held.hold(held.publish())
    held.profile = read_profile(None, {**SETTINGS, "check.picture": "report"})
    published = held.publish()
    assert published.uri == str(held.master) and not held.frames and not held.waiting.exists()
    settle(hold, PLAN, published.key, held.store)
    assert [h.state for h in list_holds(held.store)] == ["settled"]


def test_what_was_decided_of_another_source_or_other_settings_is_void(held: Held) -> None:
    hold = held.hold(held.publish())
    settle(hold, "another plan", "another key", held.store)
    assert held.kept is None and list_holds(held.store) == [] and not held.waiting.exists()


def test_a_published_master_is_never_removed_by_what_becomes_of_its_hold(held: Held) -> None:
    held.profile = read_profile(None, {**SETTINGS, "check.picture": "report"})
    made = held.publish()
    hold = held.hold(made)  # as a run with the stricter policy does later
    settle(hold, "another plan", "another key", held.store)
    assert published_master(held.key, held.plan, held.store, held.output) == made


def test_what_waits_is_held_anew_where_its_bytes_or_faults_are_others(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = held.hold(held.publish())
    held.found.append(replace(FAULT, start=16, stop=17))
    more = held.hold(held.publish())
    assert len(more.broken) == 2
    with pytest.raises(UsageError, match="another master waits by now"):
        held.say(first, decision="approve")  # who has not seen the second one
    held.waiting.unlink()
    held.have_another_encoder(monkeypatch)
    changed = held.hold(held.publish())
    assert changed.key == first.key and changed.sha256 != first.sha256
    held.say(changed, decision="approve")
    assert held.master.exists()


def test_an_approved_master_that_was_lost_is_published_again_only_as_the_person_saw_it(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.say(held.hold(held.publish()), decision="approve")
    held.master.unlink()
    assert held.publish().uri == str(held.master)  # the same bytes
    held.master.unlink()
    held.found.append(replace(FAULT, start=16, stop=17))
    assert held.publish().uri == str(held.waiting) and not held.master.exists()  # more is seen now
    held.found.pop()
    held.waiting.unlink()
    held.have_another_encoder(monkeypatch)
    other = held.publish()
    assert other.uri == str(held.waiting) and not held.master.exists()
    assert held.kept is not None and not held.kept.accepts(other, held.check(other))


def test_what_is_approved_is_so_under_a_plan_that_gives_the_same_bytes(held: Held) -> None:
    held.say(held.hold(held.publish()), decision="approve")
    approved = held.kept
    assert approved is not None
    assert still_approved(approved, PLAN, held.store) == held.kept == approved
    assert still_approved(approved, "a plan of another version", held.store) == held.kept
    assert held.kept == replace(approved, plan="a plan of another version")


def test_a_title_that_was_approved_and_is_rejected_stands_no_more(held: Held) -> None:
    run = RunFiles(held.store, RUN).read_run()
    RunFiles(held.store, RUN).write_outcome(held.title, Outcome(title=held.title.name, state="held"))
    held.say(held.hold(held.publish()), decision="approve")
    approved = held.kept
    assert approved is not None and Standings(run).find(held.title.name, held.title.uri) == held.title
    held.say(approved, decision="reject")
    assert Standings(run).find(held.title.name, held.title.uri) is None
    assert held.master.exists()


def test_approving_needs_no_weights(held: Held, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def gone(*_: object) -> None:
        raise WeightsError("film.pth is not there")

    monkeypatch.setattr("flows.standing.model_reference", gone)
    RunFiles(held.store, RUN).write_outcome(held.title, Outcome(title=held.title.name, state="held"))
    assert "approved by ann" in held.say(held.hold(held.publish()), decision="approve")
    assert held.master.exists() and "film.pth is not there" in caplog.text


def test_what_waits_knows_of_every_run_that_found_it_so(held: Held) -> None:
    shard = held.plan.shards[1]
    asked = tuple(
        Revision(held.title.name, shard.start, shard.stop, (("model", "bicubic"),), why) for why in ("dark", "too dark")
    )
    hold = held.hold(held.publish(), of_run=asked[:1])
    for found in (asked[1:], asked[:1], asked[1:]):
        again = replace(hold, of_run=found)
        receipt = from_bytes(held.store.read(next(f for f in _records(held) if f.endswith("receipt.json"))))
        hold_again(again, held.kept, receipt, held.store)
        assert held.kept == replace(hold, of_run=asked)


def test_what_a_run_published_meanwhile_is_not_rejected(held: Held) -> None:
    hold = held.hold(held.publish())
    settle(hold, PLAN, "the key of a clean master", held.store)
    settled = held.kept
    for decision in ("reject", "approve"):
        with pytest.raises(UsageError, match="another master waits by now, or none"):
            held.say(hold, decision=decision)
    assert held.kept == settled


def test_a_glob_is_of_what_waits_and_a_name_of_what_was_decided_too(held: Held) -> None:
    name, store = held.title.name, held.store.root
    hold = held.hold(held.publish())
    assert _meant("*", store)[1] == _meant(name, store)[1] == _meant(RUN, store)[1] == [hold]
    held.say(hold, decision="approve")
    assert _meant(name, store)[1] == [held.kept]
    for what in ("*", RUN):
        with pytest.raises(UsageError, match="None waits"):
            _meant(what, store)


WRONG: dict[str, tuple[Callable[[Held], object], type[Exception], str]] = {
    "the source has changed": (lambda held: held.source.touch(), UsageError, "its source has changed"),
    "the source is gone": (lambda held: held.source.unlink(), UsageError, "its source has changed or is gone"),
    "the master is gone": (lambda held: held.waiting.unlink(), StoreDamaged, "is gone or changed"),
    "the master was written to": (lambda held: held.waiting.write_bytes(b"x"), StoreDamaged, "is gone or changed"),
    "another master waits": (lambda held: drop_hold(held.hold(held.publish()), held.store), UsageError, "or none"),
    "its receipt is lost": (
        lambda held: [held.store.delete(f) for f in held.store.list("holds") if f.endswith("receipt.json")],
        StoreDamaged, "is lost",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_approved_is_not_published(held: Held, what: str) -> None:
    hold = held.hold(held.publish())
    change, error, says = WRONG[what]
    change(held)
    with pytest.raises(error, match=says):
        held.say(hold, decision="approve")
    assert not held.master.exists()
    assert not held.output.exists(receipt_place(held.title.master))


def test_a_master_that_waits_is_no_asset_yet() -> None:
    film = asset("/out/film.mkv", "film.mkv")
    with AssetContext(downstream_assets={film}) as context:
        describe("/out/film.mkv", {"frames": 1})
        assert context.materialization_metadata == {film.key: {"frames": 1}}
        nothing_made()
        assert not context.downstream_assets


def test_the_page_of_a_title_that_waits_shows_no_receipt_of_an_earlier_master(held: Held) -> None:
    first = held.publish()
    held.say(held.hold(first), decision="approve")
    job = cast(Any, SimpleNamespace(output=held.output, title=held.title))
    receipt = reporting._receipt(job, first)
    assert receipt is not None and receipt.master.sha256 == first.sha256
    assert reporting._receipt(job, replace(first, sha256="0" * 64)) is None


def test_an_estimate_counts_what_was_decided_and_not_what_waits(held: Held) -> None:
    profile = read_profile(None, {**SETTINGS, "cost.gpu_hour": 3600.0, "cost.budget": 1e-9})
    other = Run(
        id="20260102-000000-bbbb", library=str(held.source.parent), output=held.output.root, store=held.store.root,
        profile=profile,
    )  # fmt: skip

    def make_sample(work: Work, _: Any) -> Record:
        return held.worker.upscale(work)

    pool = cast(Any, SimpleNamespace(run=make_sample, start=lambda: SimpleNamespace(size=1)))
    hold = held.hold(held.publish(), held.planned(other).asked)
    assert why_not(other, [held.title], pool) == ""
    assert budget._is_there(held.title, held.store, held.output)
    held.say(hold, decision="reject", settings={"model": "bicubic"})
    assert "it would cost" in why_not(other, [held.title], pool)
    assert not budget._is_there(held.title, held.store, held.output)
    rows, _ = show_plan(other.library, held.output, held.store, profile, 1, as_json=True)
    assert (rows[0]["shards"], rows[0]["cached"]) == (3, 2)


@pytest.mark.parametrize("filled", [False, True])
def test_a_rejection_is_carried_out_though_another_contract_is_broken(
    held: Held, monkeypatch: pytest.MonkeyPatch, filled: bool
) -> None:
    """What had to be filled in was not made, so of that nothing is carried out yet."""
    held.say(held.hold(held.publish()), decision="reject")
    rejected = held.kept
    assert rejected is not None
    (once,) = rejected.revisions
    plan = revise(held.plan, held.profile, held.store, replace(once, filled=filled))
    held.found.clear()
    made = held.publish()
    result = CheckResult(False, (("closed captions", False, "none, source 9"),))

    def ends(value: object) -> SimpleNamespace:
        state = SimpleNamespace(is_completed=lambda: False)
        task = lambda *_, return_state=False: state if return_state else value  # noqa: E731
        return SimpleNamespace(with_options=lambda *_, **__: task)

    for task, value in {"_finish": to_json(made).decode(), "_check": result, "_receipt": "", "_preview": ""}.items():
        monkeypatch.setattr(f"flows.title.{task}", ends(value))
    job = SimpleNamespace(
        run=RunFiles(held.store, RUN).read_run(), title=held.title, output=held.output, store=held.store, hold=rejected,
        asked=PLAN, planned=plan, decisions=(), progress=SimpleNamespace(phase=lambda *_: None),
    )  # fmt: skip
    outcome = _publish(cast(Any, job), cast(Any, None), Outcome(title=held.title.name, state="failed"))
    assert outcome.state == "check" and "closed captions" in outcome.reason
    assert held.kept is not None
    assert (held.kept.state, held.kept.revisions) == (("rejected", (once,)) if filled else ("settled", ()))


def test_what_is_damaged_is_no_hold(held: Held) -> None:
    held.hold(held.publish())
    (place,) = [file for file in _records(held) if file.endswith("hold.json")]
    held.store.write(place, held.store.read(place).replace(b'"waiting"', b'"approved"'))
    assert held.kept is None and list_holds(held.store) == []
    assert held.publish().uri == str(held.waiting)  # and nothing is published by it


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"shots": [2]}, "has shots 0 to 1"),
        ({"shards": [9]}, "has shards 0 to"),
        ({"settings": {"master.codec": "ffv1"}}, "is the same for all shards"),
        ({"settings": {"modell": "x"}}, "did you mean model"),
    ],
)
def test_a_rejection_that_cannot_be_carried_out_changes_nothing(
    held: Held, answer: dict[str, object], says: str
) -> None:
    hold = held.hold(held.publish())
    with pytest.raises(UsageError, match=says):
        held.say(hold, decision="reject", **answer)
    assert held.kept == hold


def test_a_receipt_without_reviews_is_what_it_was(held: Held) -> None:
    held.found.clear()
    made = held.publish()
    receipt = make_receipt(held.plan, held.profile, held.records, made, held.check(made), ("0",))
    assert "reviews" not in json.loads(receipt.model_dump_json(exclude_defaults=True))


def _records(held: Held) -> list[str]:
    return held.store.list("holds")
