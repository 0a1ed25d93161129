"""All that a report shows of one title, gathered from what its flow has at hand. Reads no store and draws no page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.attempts import Clock, Cost, clock_of, costs_of
from tasks.charts import Bar, Curve, Kind, Lane, curve, lane
from tasks.figures import moment, size
from tasks.judge import FLICKER, UNLIKE, steadiness
from tasks.media.contract.likeness import REACH, Likeness
from tasks.plan import Plan
from tasks.profile import Profile, setting_names
from tasks.receipt import Receipt, ReviewLine
from tasks.records import MasterRecord, Record, Title
from tasks.stills import Stills
from tasks.tables import LedgerRow

_TICKS = 4
_BEST = 99.0  # dB: a result that is, once reduced, the source itself has no end of them


@dataclass(frozen=True)
class Chart:
    """A curve with its words: what it is, in which unit, which way is good, and where its worst frame is."""

    name: str
    unit: str
    says: str
    curve: Curve
    worst_at: str


@dataclass(frozen=True)
class Along:
    """The title from its first frame to its last: shards as a strip, and curves over it."""

    shards: Lane
    charts: tuple[Chart, ...]
    ticks: tuple[str, ...]


@dataclass(frozen=True)
class TitleReport:
    """What there is to show of a title.

    Attributes:
        run: id of the run.
        outcome: fields of `flows.run.Outcome`.
        settings: of the profile it was made by: name, value, whether it is the default.
        facts: name, of the source, of the master.
        stills: pictures; `unseen` says why there are none.
        along: None if it was not planned.
        clock, costs: of this run's attempts.
        attempts: rows of the ledger, by shard and time.
        receipt: name and value of what the receipt says; empty if there is none.
    """

    run: str
    outcome: dict[str, Any]
    settings: tuple[tuple[str, str, bool], ...]
    facts: tuple[tuple[str, str, str], ...] = ()
    stills: Stills = field(default_factory=Stills)
    unseen: str = ""
    along: Along | None = None
    clock: Clock | None = None
    costs: tuple[Cost, ...] = ()
    attempts: tuple[LedgerRow, ...] = ()
    receipt: tuple[tuple[str, str], ...] = ()


def settings_of(profile: Profile) -> tuple[tuple[str, str, bool], ...]:
    """Each setting by its dotted name, its value in words, and whether it is the default."""
    plain, usual = profile.model_dump(), Profile().model_dump()
    rows = []
    for name in setting_names():
        value, default = plain, usual
        for part in name.split("."):
            value, default = value[part], default[part]
        rows.append((name, _words(value), value == default))
    return tuple(rows)


def facts_of(
    title: Title, plan: Plan | None, profile: Profile, master: MasterRecord | None
) -> Iterator[tuple[str, str, str]]:
    """What source and master are: name, of the source, of the master."""
    probe = title.probe
    if probe is None:
        return
    rows, columns = plan.master_size if plan is not None else (0, 0)
    yield "size", f"{probe.width}x{probe.height}", f"{columns}x{rows}" if rows else ""
    yield "codec", probe.codec, profile.master.codec if plan is not None else ""
    yield "pixel format", probe.pix_fmt, plan.layout.pix_fmt if plan is not None else ""
    frames = len(plan.timeline) if plan is not None else probe.frames
    yield "frames", f"{frames:,}" if frames else "", f"{master.frames:,}" if master else ""
    yield "frames a second", f"{float(probe.frame_rate):.5g}", f"{float(plan.rate):.5g}" if plan is not None else ""
    yield "length", moment(probe.duration), ""
    yield "file", size(title.size), size(master.size) if master else ""


def along(plan: Plan, records: Sequence[Record], failed: set[int], likeness: Likeness | None, floor: float) -> Along:
    """The title from end to end.

    Args:
        plan: of the title.
        records: of the shards that are made.
        failed: indexes of shards that could not be.
        likeness: of master to source; None if nobody looked.
        floor: lowest fidelity in dB that passes.
    """
    made = {record.key: record for record in records}
    count = len(plan.shown)
    bars, fidelity = [], np.full(count, np.nan, np.float32)
    for shard in plan.shards:
        record = made.get(shard.key)
        bars.append(Bar(shard.start, shard.stop, _shard_kind(record, shard.index in failed)))
        if record is not None:
            fidelity[shard.start : shard.stop] = min(record.fidelity, _BEST)
    pts = plan.shown.pts
    seconds = (pts - pts[0]) * float(plan.reading.pictures.time_base)

    def chart(name: str, unit: str, says: str, drawn: Curve | None) -> Iterator[Chart]:
        if drawn is not None:
            yield Chart(name, unit, says, drawn, f"frame {drawn.at}, {moment(float(seconds[drawn.at]))}")

    charts = list(
        chart(
            "fidelity", "dB", "lowest PSNR of each shard, reduced to its source's size: higher is nearer to it",
            curve(fidelity, floor, more_is_better=True, steps=True),
        )
    )  # fmt: skip
    if likeness is not None and len(likeness):
        charts += chart(
            "difference", "of 255", "each frame against its own, both from afar: lower is nearer",
            curve(likeness.apart[:, REACH], UNLIKE),
        )  # fmt: skip
        charts += chart(
            "flicker", "of 255", "how much more changes from frame to frame than in the source: lower is steadier",
            curve(steadiness(likeness, plan.shards, plan.cuts), FLICKER),
        )  # fmt: skip
    ticks = tuple(moment(float(seconds[(count - 1) * step // _TICKS])) for step in range(_TICKS + 1))
    return Along(lane("shards", bars, 0, count), tuple(charts), ticks)


def title_report(
    run: str, outcome: dict[str, Any], title: Title, profile: Profile, plan: Plan | None, records: Sequence[Record],
    rows: Sequence[LedgerRow], master: MasterRecord | None, appeared: int, likeness: Likeness | None,
    receipt: Receipt | None, stills: Stills, unseen: str,
) -> TitleReport:  # fmt: skip
    """Put together what a title's flow has at hand; see `TitleReport`. What is None was not come to.

    `appeared` is how many bytes of a master this run brought forth: one that was there already costs nothing more.
    """
    done = {row.index for row in rows if row.outcome != "failed"}
    failed = {row.index for row in rows} - done
    return TitleReport(
        run=run,
        outcome=outcome,
        settings=settings_of(profile),
        facts=tuple(facts_of(title, plan, profile, master)),
        stills=stills,
        unseen=unseen,
        along=along(plan, records, failed, likeness, profile.check.fidelity) if plan is not None else None,
        clock=clock_of(rows),
        costs=costs_of(rows, appeared, profile.cost),
        attempts=tuple(sorted(rows, key=lambda row: (row.index, row.time))),
        receipt=tuple(_receipt(receipt)) if receipt is not None else (),
    )


def _shard_kind(record: Record | None, failed: bool) -> Kind:
    if record is None:
        return "failed" if failed else "missing"
    return "lower" if record.rung else "made"


def _receipt(receipt: Receipt) -> Iterator[tuple[str, str]]:
    master, source, model = receipt.master, receipt.source, receipt.model
    yield "master", f"{master.name}, {master.size:,} bytes"
    yield "SHA-256", master.sha256
    yield "frames", f"{master.frames:,}, each with a checksum ({master.checksum})"
    yield "source", f"{source.name}, {source.size:,} bytes"
    yield "BLAKE2b-256 of the source", source.blake2b
    yield (
        "network",
        f"{model.name}, version {model.version}" + (f", weights {model.weights_hash}" if model.weights_hash else ""),
    )
    yield "shards", f"{len(receipt.shards):,}, each with the hash of its segment"
    otherwise = [line for line in receipt.shards if line.rung or line.settings or line.reason]
    if otherwise:
        yield "made otherwise", f"{len(otherwise):,} shards"
    yield "made with", ", ".join(f"{name} {version}" for name, version in sorted(receipt.software.master.items()))
    for review in receipt.reviews:
        yield review.verdict, _said(review)
    proof = receipt.signature
    signed = "no" if proof == "unsigned" else f"{proof.algorithm}, public key {proof.public_key}"
    yield "signed", signed


def _said(review: ReviewLine) -> str:
    """Who judged a master, when, what they judged of it, and in which words."""
    rejected = ", ".join(f"frames [{start},{stop})" for start, stop in review.rejected)
    parts = (f"by {review.by} on {review.at}", rejected, "; ".join(review.accepted), review.note)
    return ": ".join(part for part in parts if part)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "-"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None or value == "" else str(value)
