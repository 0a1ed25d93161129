"""What follows from a fault is the profile's to say, for those of the picture and for shards below a floor alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.check import check_master
from tasks.errors import UsageError
from tasks.finish import held_place, master_key, publish_title
from tasks.grades import grades_of
from tasks.profile import read_profile, with_settings
from tasks.records import CheckResult, Fault, MasterRecord
from tasks.store import Store
from tasks.verdict import has_to_wait
from tests import mastered
from tests.clips import Clip, make
from tests.mastered import Mastered

PICTURE, FIDELITY, GRADE = (Fault(name, 0, 1, "") for name in ("black", "fidelity", "VMAF-NEG"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    folder = tmp_path_factory.mktemp("judged")
    make(folder / "films" / "film.mkv", Clip(frames=20, width=160, height=128))
    return mastered.remaster(folder / "films", str(folder / "out"), str(folder / "store"))


@pytest.mark.parametrize(
    ("settings", "waiting"),
    [
        ({}, ()),
        ({"check.picture": "hold"}, (PICTURE,)),
        ({"check.below": "hold"}, (FIDELITY, GRADE)),
        ({"check.picture": "hold", "check.below": "hold"}, (PICTURE, FIDELITY, GRADE)),
        ({"check.picture": "report", "check.below": "report"}, ()),
    ],
)
def test_a_fault_keeps_a_master_back_if_its_policy_says_so(
    settings: dict[str, object], waiting: tuple[Fault, ...]
) -> None:
    profile = read_profile(None, settings)
    assert [fault for fault in (PICTURE, FIDELITY, GRADE) if has_to_wait([fault], profile)] == list(waiting)


def test_many_files_cannot_wait(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"check\.below = hold: masters of png are many files"):
        read_profile(None, {"check.below": "hold", "master.codec": "png"})


@pytest.mark.parametrize("floor", ["check.fidelity", "check.vmaf"])
@pytest.mark.parametrize("policy", ["fail", "hold", "report"])
def test_a_shard_below_a_floor_fails_waits_or_is_let_pass(
    done: Mastered, floor: str, policy: str, tmp_path: Path
) -> None:
    best = 100.0
    profile = read_profile(None, {**mastered.SETTINGS, floor: best, "check.below": policy})
    store, output = Store(done.store), Store(str(tmp_path / "out"))

    def publish() -> MasterRecord:
        return publish_title(done.plan, profile, done.records, store, output, lambda frames: None, lambda: None)

    made = publish()
    key = master_key(done.plan, profile, done.records, output)
    place = held_place(key, done.plan.title) if policy == "hold" else done.plan.title.master
    assert made.uri == output.uri(place) and output.exists(place)
    grades = grades_of(made, done.plan, store) if profile.check.vmaf else None
    check = check_master(done.plan, profile, made, done.records, None, grades)
    name = {"check.fidelity": "fidelity", "check.vmaf": "VMAF-NEG"}[floor]
    assert check.passed == (policy == "report")
    assert {fault.name for fault in check.faults} == {name} and len(check.faults) == len(done.plan.shards)
    assert [line for line in lines(check, name) if f"at least {best:.1f}" not in line] == []
    # Nobody wants to judge it any more: it is released as it is.
    profile = with_settings(profile, {"check.below": "fail"})
    assert publish().uri == output.uri(done.plan.title.master) and publish().sha256 == made.sha256
    assert not output.exists(held_place(key, done.plan.title))


def lines(check: CheckResult, name: str) -> list[str]:
    return [seen for line, _, seen in check.lines if line.startswith("shard ") and seen.startswith(f"{name}, frames")]


def test_a_shard_that_was_never_measured_is_below_every_floor(done: Mastered) -> None:
    profile = read_profile(None, mastered.SETTINGS)
    records = [replace(done.records[0], fidelity=float("nan")), *done.records[1:]]
    check = check_master(done.plan, profile, done.master, records, None)
    assert [fault.name for fault in check.faults] == ["fidelity"]
