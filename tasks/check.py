"""Stage 5: hold a published master against its source, contract by contract. Names the shards that fell short.

What a contract is says `tasks/media/contract/contract.py`; here are added what the plan wanted of the picture, and
fidelity. Little is decoded: the master's frames were, when their checksums were taken, and were held against the
source's then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tasks.dynamic import carries_hdr10_plus, hdr10_plus_of
from tasks.grades import Grades
from tasks.judge import steadiness
from tasks.media.contract.contract import frames_said, labels, shown, side_data, streams, times, unsaid_by
from tasks.media.contract.inventory import Inventory, take_inventory, watch
from tasks.media.contract.likeness import Likeness
from tasks.media.contract.samples import alpha, fewer_by_choice
from tasks.media.picture.colour import sited_alike, usual_siting
from tasks.media.picture.pixels import layout_of
from tasks.media.reading.hdr10_plus import of_frames
from tasks.media.reading.pixel_aspect import shown_alike
from tasks.media.reading.side_data import first_side_data
from tasks.media.reading.source import Source
from tasks.media.writing.captions import uncaptioned
from tasks.media.writing.codecs import MUXER, STILLS
from tasks.media.writing.languages import UNSPOKEN, code_in
from tasks.media.writing.master import ALONE
from tasks.media.writing.sound import hear
from tasks.plan import Plan
from tasks.pool.ladder import CLASSICAL
from tasks.profile import MasterSettings, Profile
from tasks.records import CheckResult, Fault, MasterRecord, Record
from tasks.sources import open_source
from tasks.trust import doubts
from tasks.verdict import FIDELITY, GRADE, found, policy

Line = tuple[str, bool, str]
# So much brighter a master may be than its source, at its brightest.
_BRIGHTER = 1.02


def check_master(
    plan: Plan,
    profile: Profile,
    master: MasterRecord,
    records: list[Record],
    likeness: Likeness | None,
    grades: Grades | None = None,
) -> CheckResult:
    """Read a master back and judge it.

    Args:
        plan: of the title.
        profile: sets the size and the lowest fidelity.
        master: what was published.
        records: one a shard, in order.
        likeness: of the master to its source; None if nobody wants to know.
        grades: of its shards; None likewise.
    """
    assert plan.title.probe is not None
    with (
        open_source(plan.title.uri, plan.title.name) as source,
        open_source(master.uri, f"master of {plan.title.name}") as made,
    ):
        had, held = take_inventory(source, plan.title.probe.stream), take_inventory(made, master.picture)
        said = list(_side_data(plan, profile.master.codec, source, made, master.picture))
        captions = list(_captions(plan, source, made, master.picture))
        seen_through = list(_alpha(plan, source, made, master.picture))
        carried = list(_carried(master, had, held, profile.master, plan.title.container, source, made))
    seen = found(plan, profile, records, likeness, grades)
    lines = (
        *_damage(plan),
        *_picture(plan, profile, held),
        *seen_through,
        *said,
        *_times(plan, held),
        *carried,
        *captions,
        *_faults(plan, profile, seen),
        *_measured(plan, profile, records, likeness, grades, {fault.name for fault in seen}),
        *_light(plan, records),
        *_rungs(plan, records),
        *_revisions(plan),
    )
    return CheckResult(passed=all(ok for _, ok, _ in lines), lines=lines, faults=tuple(seen))


def _damage(plan: Plan) -> Iterator[Line]:
    """What was taken although it is damaged, or does not say when it is shown."""
    for said in doubts(plan.title, plan.timeline):
        yield "source", True, said


def _picture(plan: Plan, profile: Profile, held: Inventory) -> Iterator[Line]:
    probe = plan.title.probe
    assert probe is not None
    height, width = plan.master_size
    yield "size", (held.width, held.height) == (width, height), f"{held.width}x{held.height}, wanted {width}x{height}"
    wanted_layouts = {plan.layout}
    if profile.master.codec == "prores":
        wanted_layouts.add(replace(plan.layout, depth=12))  # what every ProRes 4444 says it is
    if profile.master.codec == "h264" and plan.layout.family == "gray":
        wanted_layouts.add(replace(plan.layout, family="yuv", chroma_x=1, chroma_y=1))  # as decoders fill it up
    chosen = fewer_by_choice(probe.layout, profile.master.encoding(), plan.title.name)
    seen = f"{held.pix_fmt}, source {probe.pix_fmt}; {chosen}" if chosen else held.pix_fmt
    yield "pixel format", layout_of(held.pix_fmt, plan.title.name) in wanted_layouts, seen
    colour = plan.colour
    tags = (colour.matrix, colour.primaries, colour.transfer, 2 if colour.full_range else 1)
    guessed = ", source untagged: guessed by size" if colour.assumed else ""
    # The headers of image files have no words for some of it.
    unsaid = (2, 2, 2, 0) if profile.master.codec in STILLS else ()
    same = held.colour == tags or (
        unsaid and all(a in (b, c) for a, b, c in zip(held.colour, tags, unsaid, strict=True))
    )
    yield "colour", bool(same), f"matrix, primaries, transfer, range {held.colour}, wanted {tags}{guessed}"
    layout = plan.layout
    if layout.chroma_x or layout.chroma_y:
        siting = held.siting or usual_siting(colour.matrix)
        said = held.siting or f"unsaid, so {siting}"
        yield "chroma siting", sited_alike(siting, colour.siting, layout), f"{said}, wanted {colour.siting}"
    aspect, squared = plan.sample_aspect, f", squared by choice, source {probe.sample_aspect}" if plan.squared else ""
    alike = shown_alike(held.sample_aspect, aspect, width)
    yield "pixel aspect", alike, f"{held.sample_aspect}, wanted {aspect}{squared}"


def _alpha(plan: Plan, source: Source, made: Source, picture: int) -> Iterator[Line]:
    """How much of each picture can be seen through; both are decoded for it, if there is any alpha."""
    assert plan.title.probe is not None
    if plan.layout.alpha:
        before, after = watch(source, plan.title.probe.stream), watch(made, picture)
        assert before.alpha is not None
        # As many pictures as frames, or fewer, or more: each is held against the frame that it was made of.
        base = np.minimum(plan.reading.pictures.base, len(before.alpha) - 1)
        for row in alpha(replace(before, alpha=before.alpha[base]), after):
            yield row.name, row.verdict != "lost", row.note or f"{row.master}, source {row.source}"


def _times(plan: Plan, held: Inventory) -> Iterator[Line]:
    base = plan.reading.pictures.time_base
    wanted = [int(pts) * base for pts in plan.shown.pts]
    for row in times(wanted, held.times, base, held.picture.time_base):
        seen = f"{row.master} of {row.source}" if row.name == "frames" else row.note or "every time equal to the tick"
        yield row.name, row.verdict != "lost", seen


def _carried(
    master: MasterRecord, had: Inventory, held: Inventory, asked: MasterSettings, container: str, source: Source,
    made: Source,
) -> Iterator[Line]:  # fmt: skip
    """Every other stream, and all that is said of streams and file; of image files it is known that they hold none."""
    if asked.codec in STILLS:
        if len(master.copied):
            yield "other streams", True, f"{len(master.copied)} of the source are not carried, as asked: {ALONE}"
        return
    reasons = {f"stream {stream.source_index} ": stream.reason for stream in master.copied if stream.reason}
    others = streams(had, held, lambda index, other: hear(source, index, made, other), asked.without)
    for row in (*others, *labels(had, held)):
        reason = next((why for name, why in reasons.items() if row.name.startswith(name)), "")
        seen = row.master if row.source == row.master else f"{row.master}, source {row.source}"
        # As a remark said before any work was done.
        unsaid = row.name.endswith(": language") and row.source != "-" and row.master == "-"
        unspoken = unsaid and not code_in(MUXER[container], row.source)
        reason = UNSPOKEN if unspoken else reason
        said = dict.fromkeys(part for part in (seen, row.note, reason) if part)
        yield row.name, row.verdict != "lost" or unspoken, "; ".join(said)


def _side_data(plan: Plan, codec: str, source: Source, made: Source, picture: int) -> Iterator[Line]:
    """What is said of the whole picture stands in the first frame: no more is decoded for it."""
    assert plan.title.probe is not None
    had, has = first_side_data(source, plan.title.probe.stream), first_side_data(made, picture)
    unsaid = unsaid_by(codec, source, plan.title.probe.stream, had)
    for row in side_data(had, has, bool(plan.hdr and plan.hdr.tone), unsaid):
        seen = f"{row.master}, source {row.source}"
        yield row.name, row.verdict != "lost", f"{seen}; {row.note}" if row.note else row.master
    if carries_hdr10_plus(plan, codec):
        wanted = hdr10_plus_of(plan, source)
        dropped = f"; {wanted.dropped} more are of parts of a picture, or of no known frame" if wanted.dropped else ""
        for row in frames_said(wanted.messages, of_frames(made, picture)):
            yield row.name, row.verdict != "lost", f"{row.master}, source {row.source}{dropped}"


def _captions(plan: Plan, source: Source, made: Source, picture: int) -> Iterator[Line]:
    """Closed captions are within the picture's stream: where there are any, both are decoded."""
    if not plan.timeline.captions.any() or plan.title.probe is None:
        return
    if why := uncaptioned(plan.codec):
        # A remark said so before any work was done.
        yield "closed captions", True, f"of {plan.timeline.captions.sum()} frames, are not carried: {why}"
        return
    base = plan.reading.pictures.base
    numbers = {int(base[number]): int(number) for number in np.flatnonzero(plan.shown.captions)}
    for row in shown(watch(source, plan.title.probe.stream, numbers), watch(made, picture)):
        if row.name == "closed captions":
            yield row.name, row.verdict != "lost", f"{row.master}, source {row.source}"


def _light(plan: Plan, records: list[Record]) -> Iterator[Line]:
    """How bright an HDR master is: as MaxCLL and MaxFALL count it, before it is encoded; shards that outshine."""
    known = [(shard, record.light) for shard, record in zip(plan.shards, records, strict=True) if record.light]
    for shard, light in known:
        if light.most > light.source_most * _BRIGHTER:
            yield f"shard {shard.name}", False, f"is {light.most:.0f} nits bright, its source {light.source_most:.0f}"
    if known:
        most, average = (max(getattr(light, name) for _, light in known) for name in ("most", "average"))
        had, mean = (max(getattr(light, f"source_{name}") for _, light in known) for name in ("most", "average"))
        seen = f"MaxCLL {most:.0f} nits and MaxFALL {average:.0f} by measure, source {had:.0f} and {mean:.0f}"
        yield "light", most <= had * _BRIGHTER, seen


def _faults(plan: Plan, profile: Profile, seen: list[Fault]) -> Iterator[Line]:
    """What is wrong with the picture, each with the shard to make again."""
    for fault in seen:
        shard = next(shard for shard in plan.shards if shard.start <= fault.start < shard.stop)
        frames = f"frames [{fault.start},{fault.stop})"
        yield f"shard {shard.name}", policy(fault, profile) == "report", f"{fault.name}, {frames}: {fault.seen}"


def _measured(
    plan: Plan,
    profile: Profile,
    records: list[Record],
    likeness: Likeness | None,
    grades: Grades | None,
    faulty: set[str],
) -> Iterator[Line]:
    """What was measured and found good; banding judges nothing."""
    if FIDELITY not in faulty:
        lowest, floor = min(record.fidelity for record in records), profile.check.fidelity
        yield "fidelity", True, f"lowest {lowest:.1f} dB against the source, at least {floor:.1f} dB wanted"
    if grades is not None and not grades.shards:
        yield "VMAF-NEG", True, "not measured: the picture is too small"
    elif grades is not None:
        worst, floor = min(one.vmaf_neg for one in grades.shards), profile.check.vmaf
        kept = GRADE not in faulty or profile.check.below == "report"
        yield "VMAF-NEG", kept, f"lowest {worst:.1f} of a shard, at least {floor:.1f} wanted"
        banding = [one.cambi for one in grades.shards if one.cambi is not None]
        yield "banding", True, f"CAMBI {max(banding):.1f}" if banding else "not measured: the picture is too small"
    if likeness is not None and not faulty - {FIDELITY, GRADE}:
        steady = steadiness(likeness, plan.shards, plan.cuts)
        flicker = steady[~np.isnan(steady)].max(initial=0.0)
        yield "picture", True, f"{len(likeness)} frames like the source's; flicker {flicker:.2f} of 255 at most"


def _rungs(plan: Plan, records: list[Record]) -> Iterator[Line]:
    """Shards that could not be made as asked; one that no network has seen is none that was asked for."""
    for shard, record in zip(plan.shards, records, strict=True):
        if record.rung:
            yield f"shard {shard.name}", record.rung < CLASSICAL, f"not made as asked, but with: {record.made}"


def _revisions(plan: Plan) -> Iterator[Line]:
    """Shards made otherwise than the others: as somebody asked, or because they could not be made as asked."""
    for each in plan.revised:
        yield f"shard {plan.shards[each.index].name}", not each.revision.filled, each.revision.words
