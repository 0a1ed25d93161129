"""A small library brought to masters by the stages themselves, without Prefect and Ray: output, store, receipts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.run import Run, RunFiles, Verdict
from tasks.check import check_master
from tasks.finish import finish_title, master_key, published_master
from tasks.pictures import likeness_of, pictures_of
from tasks.plan import Plan, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import Profile, read_profile
from tasks.receipt import Receipt, make_receipt, publish_receipt
from tasks.records import MasterRecord, Record
from tasks.scan import scan
from tasks.signing import signer
from tasks.store import Store
from tasks.upscale import done_record
from tests.clips import Clip, make

SETTINGS = {"scale": 2, "shards.frames": 10, "master.preset": "ultrafast"}
TITLE = "film one.mkv"


@dataclass(frozen=True)
class Mastered:
    """What is there afterwards."""

    output: str
    store: str
    profile: Profile
    plan: Plan
    records: list[Record]
    master: MasterRecord
    receipt: Receipt

    @property
    def files(self) -> list[str]:
        return [record.segment for record in self.records]


def library(folder: Path) -> Path:
    """A library of one film in three shards."""
    make(folder / TITLE, Clip(frames=25, cuts=(12,), subtitle=True))
    return folder


def remaster(
    films: Path, output: str, store: str, run: str = "20260101-000000-aaaa", ended: bool = True, **settings: object
) -> Mastered:
    """One run; what is done already is not done again. Settings by their dotted names."""
    profile = read_profile(None, SETTINGS | settings)
    work, masters = Store(store), Store(output)
    files = RunFiles(work, run)
    files.write_run(Run(id=run, library=str(films), output=masters.root, store=work.root, profile=profile))
    (title,) = scan(str(films), masters.root, profile)
    files.write_titles([title])
    plan = plan_title(title, profile, work)
    files.write_shards(title, plan.shards)
    worker = ShardWorker(WorkerSettings(profile.model, threads=1))
    records = [done_record(order.shard, work) or worker.upscale(order) for order in plan.work]
    key = master_key(plan, profile, records, masters)
    master = published_master(key, plan, work, masters)
    master = master or finish_title(plan, profile, records, work, masters, lambda frames: None, lambda: None)
    check = check_master(plan, profile, master, records, likeness_of(master, plan, work))
    receipt = make_receipt(plan, profile, records, master, check, pictures_of(master, work))
    publish_receipt(receipt, masters, signer())
    if ended:
        files.write_verdict(Verdict(state="completed", message="", finished="2026-01-01T00:00:00+00:00"))
    return Mastered(masters.root, work.root, profile, plan, records, master, receipt)


def masters_of(films: Path, folder: Path, settings: dict[str, object]) -> dict[str, bytes]:
    """Every master of a library, by its path in the output."""
    profile = read_profile(None, settings)
    store, output = Store(str(folder / "work")), Store(str(folder / "masters"))
    worker = ShardWorker(WorkerSettings(profile.model, threads=1))
    for title in scan(str(films), output.root, profile):
        plan = plan_title(title, profile, store)
        records = [worker.upscale(order) for order in plan.work]
        finish_title(plan, profile, records, store, output, lambda frames: None, lambda: None)
    return {name: output.read(name) for name in output.list()}


def flip(path: Path, offset: int, by: int = 1) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= by
    path.write_bytes(data)
