"""Stage 5: hold a published master against its source, contract by contract. Names the shards that fell short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from tasks.media.inventory import Inventory, take_inventory
from tasks.media.source import open_input
from tasks.plan import Plan
from tasks.pool.ladder import CLASSICAL
from tasks.profile import Profile
from tasks.records import CheckResult, MasterRecord, Record
from tasks.sources import open_source

Line = tuple[str, bool, str]
# Half of Matroska's millisecond: what rounding to its ticks can shift a time by.
_MATROSKA_ROUNDING = Fraction(1, 2000)


def check_master(plan: Plan, profile: Profile, master: MasterRecord, records: list[Record]) -> CheckResult:
    """Read a master back and judge it.

    Args:
        plan: of the title.
        profile: sets the size and the lowest fidelity.
        master: what was published.
        records: one a shard, in order.
    """
    with open_source(master.uri, f"master of {plan.title.name}") as source:
        held = take_inventory(source, master.picture)
    lines = (
        *_picture(plan, profile, held),
        *_times(plan, held),
        *_streams(master, held),
        *_chapters(plan, held),
        *_fidelity(plan, profile, records),
        *_rungs(plan, records),
        *_revisions(plan),
    )
    return CheckResult(passed=all(ok for _, ok, _ in lines), lines=lines)


def _picture(plan: Plan, profile: Profile, held: Inventory) -> Iterator[Line]:
    probe = plan.title.probe
    assert probe is not None
    wanted = (probe.width * profile.scale, probe.height * profile.scale)
    yield "size", (held.width, held.height) == wanted, f"{held.width}x{held.height}, wanted {wanted[0]}x{wanted[1]}"
    wanted_formats = {plan.layout.pix_fmt}
    if profile.master.codec == "prores":
        wanted_formats.add(replace(plan.layout, depth=12).pix_fmt)  # what every ProRes 4444 says it is
    yield "pixel format", held.pix_fmt.replace("yuvj", "yuv") in wanted_formats, held.pix_fmt
    colour = plan.colour
    tags = (colour.matrix, colour.primaries, colour.transfer, 2 if colour.full_range else 1)
    guessed = ", source untagged: guessed by size" if colour.assumed else ""
    yield "colour", held.colour == tags, f"matrix, primaries, transfer, range {held.colour}, wanted {tags}{guessed}"
    aspect = probe.sample_aspect
    yield "pixel aspect", held.sample_aspect == aspect, f"{held.sample_aspect}, wanted {aspect}"


def _times(plan: Plan, held: Inventory) -> Iterator[Line]:
    probe = plan.title.probe
    assert probe is not None
    frames = len(plan.timeline)
    yield "frames", len(held.times) == frames, f"{len(held.times)} of {frames}"
    if len(held.times) != frames:
        return
    apart = [abs(a - int(b) * probe.time_base) for a, b in zip(held.times, plan.timeline.pts, strict=True)]
    worst = max(apart)
    rounded = plan.title.container == "mkv" and (probe.time_base * 1000).denominator != 1
    where = f"frame {apart.index(worst)} is {float(worst):.6f} s off" if worst else "every time equal to the tick"
    yield "times", worst <= (_MATROSKA_ROUNDING if rounded else 0), where


def _streams(master: MasterRecord, held: Inventory) -> Iterator[Line]:
    for stream in master.copied:
        name = f"stream {stream.source_index} ({stream.type} {stream.codec})"
        if stream.index >= 0:
            same = held.hashes.get(stream.index) == stream.sha256
            yield name, same, f"{held.packets.get(stream.index, 0)} of {stream.packets} packets, bit for bit"
        elif "timecode" in stream.reason:
            yield name, held.timecodes > 0, stream.reason
        else:
            yield name, "chapters" in stream.reason, stream.reason


def _chapters(plan: Plan, held: Inventory) -> Iterator[Line]:
    probe = plan.title.probe
    assert probe is not None
    if probe.chapters or held.chapters:
        with open_source(plan.title.uri, plan.title.name) as source, open_input(source) as original:
            starts = [float(c["start"] * (c["time_base"] or 1)) for c in original.chapters()]
        close = len(starts) == len(held.chapters) and all(
            abs(a - float(b[0])) < 0.002 for a, b in zip(starts, held.chapters, strict=True)
        )
        yield "chapters", close, f"{len(held.chapters)} of {probe.chapters}"


def _fidelity(plan: Plan, profile: Profile, records: list[Record]) -> Iterator[Line]:
    floor = profile.check.fidelity
    low = [(s, r) for s, r in zip(plan.shards, records, strict=True) if not r.fidelity >= floor]
    for shard, record in low:
        seen = f"{record.fidelity:.1f} dB at frame {record.least_alike}, at least {floor:.1f} dB wanted"
        yield f"shard {shard.name}", False, f"does not look like its source: {seen}"
    if not low:
        lowest = min(record.fidelity for record in records)
        yield "fidelity", True, f"lowest {lowest:.1f} dB against the source, at least {floor:.1f} dB wanted"


def _rungs(plan: Plan, records: list[Record]) -> Iterator[Line]:
    """Shards that could not be made as asked; one that no network has seen is none that was asked for."""
    for shard, record in zip(plan.shards, records, strict=True):
        if record.rung:
            yield f"shard {shard.name}", record.rung < CLASSICAL, f"not made as asked, but with: {record.made}"


def _revisions(plan: Plan) -> Iterator[Line]:
    """Shards made otherwise than the others: as somebody asked, or because they could not be made as asked."""
    for each in plan.revised:
        yield f"shard {plan.shards[each.index].name}", not each.revision.filled, each.revision.words
