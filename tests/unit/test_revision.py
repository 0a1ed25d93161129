"""One shard of a title made otherwise: its neighbours keep their keys, and plan, worker, check and receipt say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.request import Rerun
from flows.rerun import again
from flows.run import Outcome, Run, RunFiles
from tasks.check import check_master
from tasks.commit import done_record
from tasks.errors import UsageError
from tasks.finish import finish_title
from tasks.pictures import pictures_of
from tasks.plan import Plan, plan_title, revise
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.receipt import from_bytes, make_receipt, to_bytes
from tasks.records import Network, Revision, Work, from_json, to_json
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from vsr_model.errors import UnknownModel

SETTINGS = {"scale": 2, "shards.frames": 10, "master.codec": "h264", "master.preset": "ultrafast"}
PROFILE = read_profile(None, SETTINGS)
REASON = "it flickers"
ID = "20260101-000000-aaaa"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    make(root / "film.mkv", Clip(frames=30))
    make(root / "other.mkv", Clip(frames=12))
    return root


@pytest.fixture
def plan(films: Path, tmp_path: Path) -> Plan:
    title = scan(str(films), str(tmp_path / "out"), PROFILE)[0]
    return plan_title(title, PROFILE, Store(str(tmp_path / "store")))


def revision_of(plan: Plan, index: int, **settings: str | int) -> Revision:
    shard = plan.shards[index]
    changes = tuple((name.replace("__", "."), value) for name, value in sorted(settings.items()))
    return Revision(shard.title, shard.start, shard.stop, changes, REASON)


def test_a_revised_shard_has_another_key_and_its_neighbours_have_their_own(plan: Plan, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    revised = revise(plan, PROFILE, store, revision_of(plan, 1, model="swift"))
    assert [a.key == b.key for a, b in zip(plan.shards, revised.shards, strict=True)] == [True, False, True]
    (a, b) = plan.shards[1], revised.shards[1]
    assert (a.start, a.stop, a.index, a.cut) == (b.start, b.stop, b.index, b.cut)
    assert b.warm_up > 0, "swift remembers, lanczos does not"
    network = revised.work[1].network
    assert network is not None and network.model == "swift"
    assert [work.network for work in (revised.work[0], revised.work[2])] == [None, None]
    assert revised.work[1].weights_hash != plan.work[1].weights_hash
    assert from_json(Work, to_json(revised.work[1])) == revised.work[1]
    # As it is when all of the title is made by that network: what is done once is done.
    whole = plan_title(plan.title, read_profile(None, {**SETTINGS, "model": "swift"}), store)
    assert whole.shards[1] == b
    assert f"shard film.mkv [{b.start},{b.stop}): made with model=swift: {REASON}" in remarks(revised)


def test_another_seed_needs_no_other_network(plan: Plan, tmp_path: Path) -> None:
    revised = revise(plan, PROFILE, Store(str(tmp_path / "store")), revision_of(plan, 1, seed=7))
    assert revised.shards[1].key != plan.shards[1].key
    assert (revised.work[1].network, revised.work[1].seed) == (None, 7)


def test_a_shard_that_is_only_made_again_is_the_same_one(plan: Plan, tmp_path: Path) -> None:
    once_more = replace(revision_of(plan, 1), again=True)
    revised = revise(plan, PROFILE, Store(str(tmp_path / "store")), once_more)
    assert (revised.shards, revised.work) == (plan.shards, plan.work)
    assert f"shard {plan.shards[1].name}: made again: {REASON}" in remarks(revised)


def test_revisions_of_other_titles_and_of_no_shard(plan: Plan, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    other = replace(revision_of(plan, 1, seed=7), title="other.mkv")
    assert plan_title(plan.title, PROFILE, store, (other,)).shards == plan.shards
    gone = replace(revision_of(plan, 1, seed=7), stop=plan.shards[1].stop + 1)
    with pytest.raises(UsageError, match=r"film.mkv: frames \[10,21\) are no shard of it any more"):
        plan_title(plan.title, PROFILE, store, (gone,))


def test_one_worker_makes_both_kinds_and_the_master_says_so(plan: Plan, tmp_path: Path) -> None:
    store, output = Store(str(tmp_path / "store")), Store(str(tmp_path / "out"))
    worker = ShardWorker(WorkerSettings("lanczos", threads=1))
    plain = [worker.upscale(work) for work in plan.work]
    revised = revise(plan, PROFILE, store, revision_of(plan, 1, model="swift"))
    records = [done_record(shard, store) or worker.upscale(work) for shard, work in
               zip(revised.shards, revised.work, strict=True)]  # fmt: skip
    assert [a == b for a, b in zip(plain, records, strict=True)] == [True, False, True]
    assert ShardWorker(WorkerSettings("swift", threads=1)).upscale(replace(revised.work[1], network=None)) == records[1]
    assert worker.upscale(plan.work[2]) == plain[2], "back to the network it started with"

    master = finish_title(revised, PROFILE, records, store, output, lambda frames: None, lambda: None)
    check = check_master(revised, PROFILE, master, records, None)
    assert check.passed
    assert (f"shard {plan.shards[1].name}", True, f"made with model=swift: {REASON}") in check.lines
    receipt = make_receipt(revised, PROFILE, records, master, check, pictures_of(master, store))
    assert from_bytes(to_bytes(receipt)) == receipt
    lines = receipt.shards
    assert (lines[1].settings, lines[1].reason) == ({"model": "swift"}, REASON)
    assert lines[1].weights_hash == revised.work[1].weights_hash != ""
    assert b'"settings": {}' not in to_bytes(receipt)
    assert (lines[0].settings, lines[0].reason, lines[0].weights_hash) == ({}, "", "")


def test_a_network_that_cannot_be_had_leaves_the_worker_as_it_was(plan: Plan, tmp_path: Path) -> None:
    worker = ShardWorker(WorkerSettings("lanczos", threads=1))
    order = replace(plan.work[1], network=Network("no such network"))
    for _ in range(2):
        with pytest.raises(UnknownModel):
            worker.upscale(order)
    assert worker.upscale(plan.work[1]).frames == 10


def test_what_was_filled_in_does_not_pass_for_good(plan: Plan, tmp_path: Path) -> None:
    store, output = Store(str(tmp_path / "store")), Store(str(tmp_path / "out"))
    filling = replace(revision_of(plan, 1, model="bicubic"), filled=True, reason="three workers died")
    revised = revise(plan, PROFILE, store, filling)
    worker = ShardWorker(WorkerSettings("lanczos", threads=1))
    records = [worker.upscale(work) for work in revised.work]
    master = finish_title(revised, PROFILE, records, store, output, lambda frames: None, lambda: None)
    check = check_master(revised, PROFILE, master, records, None)
    assert not check.passed
    (line,) = [line for line in check.lines if not line[1]]
    assert line[2] == "filled in with model=bicubic: three workers died"


class Before:
    """A run that is to be repeated."""

    def __init__(self, films: Path, folder: Path, plan: Plan) -> None:
        store = Store(str(folder / "store"))
        self.files = RunFiles(store, ID)
        self.run = Run(id=ID, library=str(films), output=str(folder / "out"), store=store.root, profile=PROFILE,
                       force=True)  # fmt: skip
        self.files.write_run(self.run)
        self.files.write_titles(scan(str(films), self.run.output, PROFILE))
        self.files.write_shards(plan.title, plan.shards)

    def again(self, titles: str = "", shards: list[int] | None = None, reason: str = "", **settings: object) -> Run:
        changes = {name.replace("__", "."): value for name, value in settings.items()}
        return again(
            self.files, "next", Rerun(store="", title=titles, shards=shards or [], reason=reason, settings=changes)
        )


@pytest.fixture
def before(films: Path, tmp_path: Path, plan: Plan) -> Before:
    return Before(films, tmp_path, plan)


def test_a_plain_repetition_is_the_same_without_force(before: Before) -> None:
    assert before.again() == before.run.model_copy(update={"id": "next", "rerun_of": ID, "force": False})
    assert before.again("other*").titles == "other*"
    assert before.again(retry__attempts=9).profile.retry.attempts == 9


def test_rejected_shards_are_named_by_their_pictures(before: Before, plan: Plan) -> None:
    run = before.again("film.mkv", [2, 0, 2], REASON, model="swift")
    assert run.profile == PROFILE
    assert run.titles == "film.mkv"
    assert [(r.start, r.settings, r.reason) for r in run.revisions] == [
        (0, (("model", "swift"),), REASON), (20, (("model", "swift"),), REASON),
    ]  # fmt: skip
    assert Run.model_validate_json(run.model_dump_json()) == run


def test_a_repetition_of_a_repetition_keeps_what_was_asked_otherwise(before: Before) -> None:
    before.files.write_run(before.again("film.mkv", [0, 1], REASON, seed=1))
    later = before.again("film.mkv", [1], "still", seed=2)
    assert [(r.start, r.settings, r.reason) for r in later.revisions] == [
        (0, (("seed", 1),), REASON), (10, (("seed", 2),), "still"),
    ]  # fmt: skip
    before.files.write_run(later)
    third = before.again("film.mkv", [0, 2], "torn")
    assert [(r.start, r.settings, r.reason, r.again) for r in third.revisions] == [
        (0, (("seed", 1),), "torn", True), (10, (("seed", 2),), "still", False), (20, (), "torn", True),
    ]  # fmt: skip
    before.files.write_run(third)
    assert [(r.start, r.settings, r.again) for r in before.again().revisions] == [
        (0, (("seed", 1),), False), (10, (("seed", 2),), False),
    ]  # fmt: skip


def test_a_shard_is_rejected_in_a_run_in_which_its_title_only_stood(before: Before, plan: Plan) -> None:
    """A night opens nothing that is as it was: the shards, and what was decided of them, are the earlier run's."""
    made = before.again("film.mkv", [0], REASON, seed=1).model_copy(update={"id": ID, "new_only": True})
    before.files.write_run(made)
    elsewhere = made.model_copy(update={"output": made.output + "-2", "revisions": ()})
    for run, state in ((made, "done"), (elsewhere, "done"), (made.model_copy(update={"revisions": ()}), "failed")):
        files = RunFiles(Store(run.store), f"{ID}-{len(run.output)}-{state}")
        files.write_run(run.model_copy(update={"id": f"{ID}-{len(run.output)}-{state}"}))
        files.write_titles([plan.title])
        files.write_shards(plan.title, plan.shards)
        files.write_outcome(plan.title, Outcome(title="film.mkv", state=state))  # type: ignore[arg-type]
    night = RunFiles(Store(made.store), "20260102-000000-bbbb")
    night.write_run(made.model_copy(update={"id": "20260102-000000-bbbb", "revisions": ()}))
    night.write_titles([plan.title])
    with pytest.raises(UsageError, match="did not come to cut it into shards"):
        again(night, "next", Rerun(store="", title="film.mkv", shards=[1]))  # cut off: nothing stood
    night.write_outcome(plan.title, Outcome(title="film.mkv", state="done", shards=3))
    asked = again(night, "next", Rerun(store="", title="film.mkv", shards=[1], reason="torn"))
    assert asked.rerun_of == "20260102-000000-bbbb"
    assert [(r.start, r.stop, r.settings, r.again) for r in asked.revisions] == [
        (0, 10, (("seed", 1),), False), (10, 20, (), True),
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"film\.mkv has shards 0 to 2 in run 20260101"):
        again(night, "next", Rerun(store="", title="film.mkv", shards=[3]))
    first = RunFiles(Store(made.store), "20250101-000000-cccc")
    first.write_run(made.model_copy(update={"id": "20250101-000000-cccc"}))
    first.write_titles([plan.title])
    first.write_outcome(plan.title, Outcome(title="film.mkv", state="done", shards=3))
    with pytest.raises(UsageError, match="the run that made it is not in the store any more"):
        again(first, "next", Rerun(store="", title="film.mkv", shards=[1]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing*",), "has no title of such a name"),
        (("", [0]), "name it with --title. Run .* has film.mkv, other.mkv"),
        (("other.mkv", [0]), "did not come to cut it into shards"),
        (("film.mkv", [3]), "film.mkv has shards 0 to 2"),
        (("film.mkv", [], REASON), "name them with --shard"),
    ],
)
def test_what_cannot_be_repeated_is_said(arguments: tuple[object, ...], words: str, before: Before) -> None:
    with pytest.raises(UsageError, match=words):
        before.again(*arguments)  # type: ignore[arg-type]


def test_settings_that_no_shard_can_have_alone(before: Before) -> None:
    with pytest.raises(UsageError, match=r"--with master\.codec: is the same for all shards"):
        before.again("film.mkv", [1], master__codec="ffv1")
    for shards in ([], [1]):
        with pytest.raises(UsageError, match="did you mean seed"):
            before.again("film.mkv", shards, sed=1)
    (as_it_is,) = before.again("film.mkv", [1], REASON, seed=0).revisions
    assert (as_it_is.settings, as_it_is.again) == ((), True)
    before.files.write_run(before.again("film.mkv", [1], REASON, seed=1))
    (back,) = before.again("film.mkv", [1], REASON, seed=0).revisions
    assert (back.settings, back.again) == ((), False)


def test_a_network_that_would_be_given_longer_shards_makes_the_ones_there_are(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.cuts._LONGEST", 10)
    profile = read_profile(None, {"scale": 2})  # lengths are left to the network
    store = Store(str(tmp_path / "store"))
    plan = plan_title(scan(str(films), str(tmp_path / "out"), profile)[0], profile, store)
    revised = revise(plan, profile, store, revision_of(plan, 1, model="flashvsr-test"))
    assert [(s.start, s.stop) for s in revised.shards] == [(0, 10), (10, 20), (20, 30)]
