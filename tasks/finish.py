"""Stage 4: join a title's segments in order, encode, add everything else the source carries, and publish atomically.

A master with faults that a person is to judge first (`tasks.verdict`) waits in a hidden folder of the output,
whole and under a name of its own, until it is released.
"""

from __future__ import annotations

import itertools
import posixpath
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import av

from tasks.dynamic import DYNAMIC_VERSION, captioned, carries_captions, carries_hdr10_plus, messages_of
from tasks.errors import SourceError, StoreDamaged
from tasks.grades import grades_of
from tasks.hold import read_hold
from tasks.media.contract.likeness import Likeness
from tasks.media.picture.hdr import is_hdr
from tasks.media.picture.pixels import Layout
from tasks.media.picture.square import SQUARE_VERSION
from tasks.media.reading.checksums import frame_checksums
from tasks.media.reading.mastering import Mastering
from tasks.media.writing.bitstream import Said
from tasks.media.writing.captions import BY_ENCODER, CAPTIONS_VERSION, with_captions
from tasks.media.writing.carry import DATA_VERSION
from tasks.media.writing.codecs import STILLS, Container
from tasks.media.writing.encode import ENCODE_VERSION, is_templated
from tasks.media.writing.held import holds_icc
from tasks.media.writing.icc import ICC_VERSION
from tasks.media.writing.join import Range
from tasks.media.writing.master import MASTER_VERSION, Contents, Picture, write_master
from tasks.media.writing.numbered import NUMBERED_VERSION
from tasks.media.writing.ranges import cut, how_many, leave_no_trace
from tasks.media.writing.segment import read_passing_segment
from tasks.media.writing.sound import BY_SAMPLES, SOUND_VERSION
from tasks.media.writing.words import BY_WORDS, WORDS_VERSION
from tasks.numbered import first_number, frame_rate, write_numbered
from tasks.pictures import keep_likeness, keep_pictures, likeness_of, watch_master
from tasks.place import OWN, claim_place
from tasks.plan import Plan
from tasks.profile import Profile
from tasks.records import MasterRecord, Record, Shard, Title, content_key, from_sealed, to_sealed
from tasks.software import software_versions
from tasks.sources import open_source, require_unchanged
from tasks.squares import as_finished
from tasks.store import Digest, Passing, Store, is_remote, lease
from tasks.store.sequence import with_fps
from tasks.verdict import found, has_to_wait, may_wait

MASTER_VERSIONS = (ENCODE_VERSION, MASTER_VERSION)


def master_key(plan: Plan, profile: Profile, records: list[Record], output: Store) -> str:
    """Content hash of everything that decides a master's bytes, and of where it goes."""
    title = plan.title
    parts: dict[str, Any] = {
        "source": plan.fingerprint,
        "segments": [record.sha256 for record in records],
        "master": profile.master.model_dump(exclude={"ranges", "pixel_aspect", "without"}),
        "container": title.container,
        "place": output.uri(title.master),
        "versions": MASTER_VERSIONS,
    }
    if len(ranges := _ranges(plan, profile)) > 1 and not leave_no_trace(profile.master.encoding()):
        parts["ranges"] = [plan.shards[at].start for at in ranges]
    if title.probe and title.probe.active_format is not None:
        parts["active format"] = title.probe.active_format
    if title.probe and title.probe.sample_aspect != 1:
        parts["pixel aspect"] = [str(title.probe.sample_aspect), *([SQUARE_VERSION] if plan.squared else [])]
    if title.probe and title.probe.projection is not None:
        parts["projection"] = title.probe.projection
    if carries_hdr10_plus(plan, profile.master.codec):
        parts["HDR10+"] = DYNAMIC_VERSION
    if title.probe and profile.master.codec not in STILLS:
        beside = {stream.type for stream in title.probe.streams if stream.index != title.probe.stream}
        if without := sorted(beside.intersection(profile.master.without)):
            parts["without"] = without
        if "data" in beside.difference(without) and "mp4" not in title.probe.container:
            parts["data"] = DATA_VERSION
    if carries_captions(plan, profile.master.codec):
        parts["captions"] = CAPTIONS_VERSION
    projection = title.probe.projection if title.probe else None
    if plan.timecode and is_templated(profile.master.encoding(), _mastering(plan), projection):
        parts["rate"] = plan.rate
    if profile.master.codec in STILLS:
        icc = [ICC_VERSION] if title.probe and holds_icc(title.container, title.probe, plan.layout.family) else []
        parts["numbered"] = [first_number(title), NUMBERED_VERSION, *icc]
    if any(BY_SAMPLES in remark for remark in title.remarks):
        parts["sound"] = SOUND_VERSION
    if any(BY_WORDS in remark for remark in title.remarks):
        parts["words"] = WORDS_VERSION
    if title.probe and plan.timecode != title.probe.timecode:
        parts["timecode"] = plan.timecode
    if not plan.timeline.is_plain:  # else they follow from the source
        parts["times"] = plan.shown.pts.tolist()
    return content_key(parts)


def published_master(key: str, plan: Plan, store: Store, output: Store) -> MasterRecord | None:
    """The record of a master that is published and whose bytes are still what was written, or None."""
    record = master_record(key, store)
    if record is None or not output.matches(plan.title.master, Digest(record.sha256, record.size)):
        return None
    # The record of one that is released is rewritten last.
    return replace(record, uri=output.uri(plan.title.master)) if is_held(record.uri) else record


def held_master(key: str, plan: Plan, store: Store, output: Store) -> MasterRecord | None:
    """The record of a master that waits for a person and whose bytes are still what was written, or None."""
    record, place = master_record(key, store), held_place(key, plan.title)
    if record is None or not output.matches(place, Digest(record.sha256, record.size)):
        return None
    return replace(record, uri=output.uri(place))


def held_place(key: str, title: Title) -> str:
    """Where in the output the master with this key waits for a person."""
    return f"{OWN}/held/{key}.{title.container}"


def is_held(uri: str) -> bool:
    """True if this is where a master waits for a person."""
    return f"/{OWN}/held/" in uri


def master_record(key: str, store: Store) -> MasterRecord | None:
    """The record of the master with this key, or None; whether the master is still there it does not say."""
    try:
        record = from_sealed(MasterRecord, store.read(_record_place(key)))
    except (FileNotFoundError, ValueError):
        return None
    return record if record.key == key else None


def publish_title(
    plan: Plan,
    profile: Profile,
    records: list[Record],
    store: Store,
    output: Store,
    progress: Callable[[int], None],
    commit: Callable[[], None],
) -> MasterRecord:
    """Make sure that a title's master is published, or held back; takes what `finish_title` does.

    To be called within `sole_publisher`. One that is held is neither made anew nor published as long as a person has to
    decide.
    """
    key = master_key(plan, profile, records, output)
    if published := published_master(key, plan, store, output):
        return published
    claim_place(plan.title, output)
    if held := held_master(key, plan, store, output):
        off = profile.check.picture == "off" or not may_wait(profile)
        likeness = None if off else likeness_of(held, plan, store)
        waits = _waits(held, likeness, plan, profile, records, store, output)
        return held if waits else release_master(held, plan.title, store, output, commit)
    return finish_title(plan, profile, records, store, output, progress, commit)


def release_master(
    record: MasterRecord, title: Title, store: Store, output: Store, commit: Callable[[], None]
) -> MasterRecord:
    """Publish a master that was held back; the same bytes appear under its name. One that is published stays as it is.

    To be called within `sole_publisher`.

    Args:
        record: of the master.
        title: whose.
        store: where its record is.
        output: where it waits, and goes.
        commit: called right before it appears; may raise to keep it from appearing.

    Raises:
        StoreDamaged: its bytes are gone or changed.
        StoreError: the disk is full, or the output cannot be written.
    """
    place, digest = held_place(record.key, title), Digest(record.sha256, record.size)
    released = replace(record, uri=output.uri(title.master))
    if not output.matches(title.master, digest):
        with output.temporary_folder() as folder:
            path = Path(output.uri(place))
            if is_remote(output.root):
                path = folder / "master"
                with _held_file(output, place, title) as file, path.open("xb") as copy:
                    shutil.copyfileobj(file, copy)
            if not Store(str(path.parent)).matches(path.name, digest):
                raise StoreDamaged(_lost(output.uri(place), title))
            output.put_file(path, title.master, move=True, digest=digest, commit=commit)
    store.write(_record_place(record.key), to_sealed(released))
    output.delete(place)
    return released


def _held_file(output: Store, place: str, title: Title) -> BinaryIO:
    try:
        return output.open(place)
    except FileNotFoundError as error:
        raise StoreDamaged(_lost(output.uri(place), title)) from error


def _lost(uri: str, title: Title) -> str:
    return (
        f"{title.name}: the master that was held back at {uri} is gone or changed. Run the library again: it is joined"
        " anew from its segments, and held back again."
    )


def _waits(
    master: MasterRecord,
    likeness: Likeness | None,
    plan: Plan,
    profile: Profile,
    records: list[Record],
    store: Store,
    output: Store,
) -> bool:
    """True if a person has to judge a master, and has not approved these bytes and all that is found."""
    if not may_wait(profile):
        return False
    graded = profile.check.vmaf and profile.check.below == "hold"
    grades = grades_of(master, plan, store) if graded else None
    seen = found(plan, profile, records, likeness, grades)
    if not has_to_wait(seen, profile):
        return False
    hold = read_hold(output.uri(plan.title.master), store)
    return hold is None or not hold.is_approved(master.key, master.sha256, seen)


@contextmanager
def sole_publisher(title: Title, output: Store, patience: float, wait: Callable[[], None]) -> Iterator[lease.Lease]:
    """Have a master's place to ourselves: the master, its check and its receipt must not be of two drivers.

    The lease is named by the place and lies in the output, as drivers with other settings, and with other stores, may
    want the same place. What the block does there must `confirm` first.

    Args:
        title: whose master.
        output: where.
        patience: seconds after which a driver that has the place and gives no sign of life has lost it.
        wait: called now and then while another driver has it; may raise to leave it.
    """
    leases = Store(output.uri(OWN))
    name = f"master-{content_key({'place': output.uri(title.master)})}"
    while (held := lease.claim(leases, name, patience)) is None:
        lease.wait(leases, name, wait)
    with held:
        yield held


def finish_title(
    plan: Plan,
    profile: Profile,
    records: list[Record],
    store: Store,
    output: Store,
    progress: Callable[[int], None],
    commit: Callable[[], None],
) -> MasterRecord:
    """Write a title's master and publish it, or hold it back for a person if it is to be.

    Args:
        plan: of the title.
        profile: for the encoder.
        records: one a shard, in order.
        store: where the segments are.
        output: where the master goes, under `plan.title.master` or `held_place`; it appears whole or not at all.
        progress: called with the number of frames encoded so far.
        commit: called right before the master appears; may raise to keep it from appearing.

    Raises:
        SourceError: the source or a segment is damaged.
        SourceChanged: the source is not the one that was planned any more.
        StoreError: the disk is full, or the output cannot be written.
    """
    began = time.perf_counter()
    title, probe = plan.title, plan.title.probe
    assert probe is not None
    key = master_key(plan, profile, records, output)
    container: Container = title.container  # type: ignore[assignment]
    stills = profile.master.codec in STILLS
    rate = frame_rate(plan) if stills else None
    with ExitStack() as opened:
        folder = opened.enter_context(output.temporary_folder())
        source = opened.enter_context(open_source(title.uri, title.name))
        path = str(Path(folder) / (posixpath.basename(title.master) if stills else f"master.{container}"))
        ranges = _ranges_of_frames(plan, profile, records, store, progress)
        if plan.timeline.captions.any() and profile.master.codec in BY_ENCODER:
            ranges = [_with_captions(one, plan, opened) for one in ranges]
        picture = Picture(
            *plan.master_size, plan.layout, plan.colour, plan.shown, plan.reading.pictures.time_base,
            plan.rate, Said(_mastering(plan), probe.active_format, probe.projection),
            messages_of(plan, profile.master.codec, opened),
            plan.sample_aspect,
        )  # fmt: skip
        if stills:
            contents = write_numbered(path, plan, profile.master.encoding(), ranges[0].frames, source)
        else:
            contents = write_master(path, container, source, probe, profile.master.encoding(), picture, ranges)
        require_unchanged(title)  # its sound and subtitles were copied just now
        # Here the file is on this machine's own disk; once it is published it may have to be fetched.
        made = opened.enter_context(open_source(with_fps(path, rate), f"master of {title.name}"))
        likeness = None
        if profile.check.picture == "off":
            sums = frame_checksums(made, contents.picture)
        else:
            sums, likeness = watch_master(made, contents.picture, plan)
        place, digest = title.master, None
        if may_wait(profile):
            digest = Store(str(folder)).digest(posixpath.basename(path))
            waiting = _record(key, path, digest, plan, contents, began)
            if _waits(waiting, likeness, plan, profile, records, store, output):
                place = held_place(key, title)
        digest = output.put_file(path, place, move=True, digest=digest, commit=commit)
    keep_pictures(digest.sha256, sums, store)
    if likeness is not None:
        keep_likeness(digest.sha256, likeness, store)
    record = _record(key, with_fps(output.uri(place), rate), digest, plan, contents, began)
    store.write(_record_place(key), to_sealed(record))
    return record


def _record(key: str, uri: str, digest: Digest, plan: Plan, contents: Contents, began: float) -> MasterRecord:
    return MasterRecord(
        key=key,
        uri=uri,
        sha256=digest.sha256,
        size=digest.size,
        frames=len(plan.shown),
        picture=contents.picture,
        copied=contents.copied,
        seconds=round(time.perf_counter() - began, 3),
        software=software_versions(),
    )


def _mastering(plan: Plan) -> Mastering | None:
    return plan.title.probe.mastering if plan.title.probe and is_hdr(plan.colour) else None


def _ranges(plan: Plan, profile: Profile) -> list[int]:
    """Which shards begin a range of the picture that has an encoder of its own."""
    frames, master = len(plan.shown), profile.master
    return cut([shard.start for shard in plan.shards], frames, how_many(master.ranges, master.encoding(), frames))


def _ranges_of_frames(
    plan: Plan, profile: Profile, records: list[Record], store: Store, progress: Callable[[int], None]
) -> list[Range]:
    segments = list(zip(plan.shards, records, strict=True))
    done = itertools.count(1)
    ranges = []
    for first, stop in itertools.pairwise([*_ranges(plan, profile), len(segments)]):
        own = segments[first:stop]
        frames = _frames(own, plan, store, done, progress)
        ranges.append(Range(own[0][0].start, own[-1][0].stop, frames))
    return ranges


def _with_captions(one: Range, plan: Plan, opened: ExitStack) -> Range:
    title = plan.title
    assert title.probe is not None
    # Opened once more: a remote file has one position, and its other streams are read meanwhile.
    again = opened.enter_context(open_source(title.uri, title.name))
    twins = captioned(plan)[one.start : one.stop]
    damaged = not plan.timeline.is_plain
    frames = with_captions(iter(one.frames), plan.layout, again, title.probe.stream, twins, damaged)
    return replace(one, frames=frames)


def _frames(
    segments: list[tuple[Shard, Record]], plan: Plan, store: Store, done: Iterator[int], progress: Callable[[int], None]
) -> Iterator[av.VideoFrame]:
    """Every frame of these segments; `done` counts those of the title, in whichever order ranges come to them."""
    for shard, record in segments:
        for frame in as_finished(_proven(shard, record, plan.layout, store), plan):
            yield frame
            number = next(done)
            if number % 24 == 0 or number == len(plan.shown):
                progress(number)


def _proven(shard: Shard, record: Record, layout: Layout, store: Store) -> Iterator[av.VideoFrame]:
    """The frames of a segment; after the last one it is certain that what was decoded is what the record names."""
    damage: Exception | None = None
    try:
        with store.open(record.segment) as file:
            passing = Passing(file)
            try:
                yield from read_passing_segment(passing, f"segment of {shard.name}", layout, shard.start, shard.stop)
            except SourceError as error:
                damage = error
            whole = passing.digest() == Digest(record.sha256, record.size)
    except FileNotFoundError as error:
        whole, damage = False, error
    if not whole:
        raise StoreDamaged(
            f"{shard.name}: its segment {store.uri(record.segment)} is gone, or changed since it was made. Run the"
            " library again: that shard, and no other, is made anew."
        ) from damage
    if damage is not None:
        raise damage


def _record_place(key: str) -> str:
    return f"masters/{key[:2]}/{key}.json"
