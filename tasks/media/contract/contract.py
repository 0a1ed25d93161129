"""The media contract: what a master must keep of its source, row by row, each with a verdict and what was seen.

    kept      the same, to the tick and to the byte
    changed   not the same, as the format it lies in or the remastering itself must have it; the row says why
    lost      what no master may lose

Only the two files are looked at: what a run planned is not known here, and what it was asked for only where somebody
says so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import av
import numpy as np
import numpy.typing as npt

from tasks.media.cadence.recipe import rate_of_pictures
from tasks.media.contract import converted
from tasks.media.contract.inventory import Inventory, Shown, Tags, Track, take_inventory, watch
from tasks.media.contract.rows import Row
from tasks.media.contract.rows import kept_or_lost as _row
from tasks.media.contract.samples import alpha, colour, made_sdr, picture, siting
from tasks.media.picture.pixels import layout_of
from tasks.media.reading.hdr10_plus import first_message
from tasks.media.reading.languages import codes_of
from tasks.media.reading.mastering import OF_HDR, said_alike
from tasks.media.reading.probe import Choice, Probe, probe
from tasks.media.reading.side_data import NAMES, SideData, turns_alike
from tasks.media.reading.source import Source
from tasks.media.reading.timecode import restated
from tasks.media.writing.bitstream import SAYING_ALL, hdr10_plus_dropped
from tasks.media.writing.captions import uncaptioned
from tasks.media.writing.carry import LEFT_OUT
from tasks.media.writing.codecs import EncodeSettings
from tasks.media.writing.sound import hear

# Written by muxers and encoders of themselves, or true only of the file they were in.
_OWN_TAGS = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "handler_name", "bps",
    "number_of_frames", "number_of_bytes", "alpha_mode", "timecode", "language", "variant_bitrate", "service_name",
    "service_provider", "mimetype", "software", "uid", "generation_uid", "company_name", "product_name",
    "product_version", "product_version_num", "product_uid", "toolkit_version_num", "application_platform",
    "operational_pattern_ul", "material_package_umid", "file_package_umid", "file_package_name", "reel_umid",
}  # fmt: skip
# What a clock shows that was never set: QuickTime counts from 1904, and zero is read as either.
_NO_DATES = ("1970-01-01T00:00:00", "1904-01-01T00:00:00")
_DEFAULT = int(av.stream.Disposition.default)
# For those who see or hear badly, and what else QuickTime's words for it mean.
_IMPAIRED = (
    (int(av.stream.Disposition.visual_impaired), int(av.stream.Disposition.descriptions)),
    (int(av.stream.Disposition.hearing_impaired), int(av.stream.Disposition.captions)),
)


def compare(
    source: Source, master: Source, choice: Choice = "auto", asked: EncodeSettings | None = None
) -> tuple[Row, ...]:
    """Hold a master against its source; both are read and decoded from end to end.

    Args:
        source, master: the files.
        choice: which of several video streams was remastered.
        asked: how the master was to be encoded, by whoever wants to know; what that leaves out is no loss.

    Raises:
        SourceError: one of them cannot be read.
        UnsupportedSource: the pixel format of one of them is not handled, or cannot become what was asked.
    """
    one, other = _pictures(probe(source, choice), probe(master))
    had, has = take_inventory(source, one), take_inventory(master, other)
    before, after = watch(source, one), watch(master, other)
    return (
        *_repaired(before, times(before.times, after.times, had.picture.time_base, has.picture.time_base)),
        *picture(had, has, asked),
        *colour(had, has, layout_of(had.pix_fmt, source.label)),
        *siting(had, has),
        *shown(before, after, asked.codec if asked else ""),
        *alpha(before, after),
        *side_data(
            before.side_data,
            after.side_data,
            made_sdr(had, has),
            unsaid_by(asked.codec, source, one, before.side_data) if asked else {},
        ),
        *frames_said(before.hdr10_plus, after.hdr10_plus),
        *streams(had, has, lambda index, other: hear(source, index, master, other), asked.without if asked else ()),
        *labels(had, has),
    )


def _pictures(source: Probe, master: Probe) -> tuple[int, int]:
    """The picture streams: in the master the one in the same place, as a picture may have grown above another."""

    def moving(found: Probe) -> list[int]:
        still = int(av.stream.Disposition.attached_pic)
        return [s.index for s in found.streams if s.type == "video" and not s.disposition & still]

    before, after = moving(source), moving(master)
    alike = len(before) == len(after)
    return source.stream, after[before.index(source.stream)] if alike else master.stream


def times(
    wanted: Sequence[Fraction], held: Sequence[Fraction], wanted_base: Fraction, held_base: Fraction
) -> Iterator[Row]:
    """Frames and when they are shown, in seconds; the bases are the files' ticks."""
    counts = (f"{len(wanted)}", f"{len(held)}")
    yield _row("frames", len(wanted) == len(held), *counts, "frames were lost or made up")
    if len(wanted) != len(held):
        return
    later = max(-wanted[0], Fraction(0)) if wanted else Fraction(0)
    moved = [time + later for time in wanted]
    row = _apart("times", moved, held, wanted_base, held_base)
    note = f"all streams begin {float(later):.6f} s later, as times below zero are not shown"
    yield replace(row, verdict="changed", source=_span(wanted), note=note) if later and row.verdict == "kept" else row


def _repaired(before: Shown, rows: Iterator[Row]) -> Iterator[Row]:
    note = f"{before.repaired} timestamps of the source are missing or go back: its frames are shown in their order"
    for row in rows:
        changed = row.name == "times" and row.verdict == "kept" and before.repaired
        yield replace(row, verdict="changed", note=note) if changed else row


def shown(before: Shown, after: Shown, codec: str = "") -> Iterator[Row]:
    """What decoded frames carry besides their samples; nothing is said of what the source does not have.

    `codec` is what the master was asked to be encoded by, if that is known.
    """
    if before.interlaced or after.interlaced:
        seen = (f"{before.interlaced} frames", f"{after.interlaced} frames")
        ok = not after.interlaced or after.interlaced == before.interlaced
        note = "fields became whole pictures" if not after.interlaced else "flagged as fields, which they are not"
        yield Row("interlaced", "changed" if ok else "lost", *seen, note)
    if before.captions or after.captions:
        seen = (f"{before.captions} frames", f"{after.captions} frames")
        if codec and not after.captions and (why := uncaptioned(codec)):
            yield Row("closed captions", "changed", *seen, f"gone by choice: {why}")
        else:
            yield _row("closed captions", before.captions_sha256 == after.captions_sha256, *seen, "not the same bytes")


def unsaid_by(codec: str, source: Source, picture: int, said: SideData) -> dict[str, str]:
    """What a source says and masters of a codec cannot, by the name of its row, and why not; scanning says so too.

    Args:
        codec: of the master.
        source, picture: the file and its picture stream.
        said: by that.
    """
    unsaid = {} if codec in SAYING_ALL else {"ambient viewing environment": f"{codec} has no place for it"}
    if said.hdr10_plus and (why := hdr10_plus_dropped(first_message(source, picture), codec)):
        unsaid["HDR10+"] = why
    return unsaid


def side_data(
    before: SideData, after: SideData, made_sdr: bool = False, unsaid: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Row]:
    """What is said of the whole picture, besides its colour.

    Args:
        before, after: what source and master say.
        made_sdr: the source was HDR, and the master is not.
        unsaid: rows whose loss was known before any work, and why.
    """
    for row in _side_data(before, after, made_sdr):
        known = row.verdict == "lost" and row.name in unsaid
        yield replace(row, verdict="changed", note=f"not carried: {unsaid[row.name]}") if known else row


def _side_data(before: SideData, after: SideData, made_sdr: bool) -> Iterator[Row]:
    for key, name in NAMES.items():
        wanted, held = before.standing.get(key), after.standing.get(key)
        if wanted is None and held is None:
            continue
        seen = (_bytes(wanted), _bytes(held))
        if made_sdr and key in OF_HDR and held is None:
            yield Row(name, "changed", *seen, "it describes the HDR picture, which the master's is no more")
        elif key in OF_HDR and wanted and held and wanted != held and said_alike(wanted, held, key):
            yield Row(name, "changed", *seen, "rounded to the units that the master counts in")
        elif name == "rotation" and wanted and held and wanted != held and turns_alike(wanted, held):
            yield Row(name, "changed", *seen, "turned alike; where a turned picture is put is said otherwise")
        else:
            yield _row(name, wanted == held, *seen, "it is gone" if held is None else "not the same bytes")
    if before.hdr10_plus and made_sdr and not after.hdr10_plus:
        yield Row("HDR10+", "changed", "present", "-", "it describes the HDR picture, which the master's is no more")
    elif before.hdr10_plus:
        yield _row("HDR10+", after.hdr10_plus, "present", _present(after.hdr10_plus), "its dynamic metadata is gone")
    if before.dolby_vision or after.dolby_vision:
        note = "it describes the source's samples and would misrepresent the master's"
        seen = (_present(before.dolby_vision), _present(after.dolby_vision))
        yield Row("Dolby Vision", "lost" if after.dolby_vision else "changed", *seen, note)


def frames_said(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[Row]:
    """What HDR10+ says of each frame in the order shown, byte for byte; whether it is gone says `side_data`."""
    if any(before) and any(after):
        seen = (f"{sum(map(bool, before))} frames", f"{sum(map(bool, after))} frames")
        yield _row("HDR10+ of frames", list(before) == list(after), *seen, "not the same bytes")


def streams(had: Inventory, has: Inventory, heard: converted.Hearing, without: Collection[str] = ()) -> Iterator[Row]:
    """Every other stream: its packets bit for bit, their times, and what is said of it.

    Args:
        had, has: of source and master.
        heard: decodes two tracks of sound, by their index in source and master; asked of those of another codec only.
        without: kinds of streams that the master was asked to be without.
    """
    twins = _twins(had.tracks, has.tracks)
    later = max(-had.times[0], Fraction(0)) if had.times else Fraction(0)
    for track in had.tracks:
        if track.helper:
            continue
        name = f"stream {track.index} ({track.type} {track.codec})"
        twin = twins.get(track.index)
        if twin is None:
            by_choice, empty = track.type in without, not track.packets
            note = LEFT_OUT if by_choice else "it holds nothing" if empty else "the master has no such stream"
            yield Row(name, "changed" if by_choice or empty else "lost", _packets(track), "-", note)
            continue
        # MP4 calls all MPEG audio one thing: the same packets are the same sound, whatever the codec is called.
        other = track.codec != twin.codec and track.sha256 != twin.sha256
        if track.type == "audio" and other and twin.packets:
            yield from converted.sound(name, (track.codec, twin.codec), later, *heard(track.index, twin.index))
            yield from _track_labels(name, track, twin)
            continue
        if track.words and track.codec != twin.codec:
            yield converted.words(name, track, twin)
        else:
            yield _row(f"{name}: packets", track.sha256 == twin.sha256, _packets(track), _packets(twin), "other bytes")
        still = track.type == "attachment" or _is_cover(track)
        if track.packets == twin.packets and not still:
            yield _packets_apart(f"{name}: times", track, twin, later, False)
            if track.type == "subtitle":
                yield _packets_apart(f"{name}: durations", track, twin, later, True)
        yield from _track_labels(name, track, twin)
    extra = [t for t in has.tracks if not t.helper and t.index not in {twin.index for twin in twins.values()}]
    for track in extra:
        name = f"stream {track.index} ({track.type} {track.codec})"
        yield Row(name, "lost", "-", _packets(track), "the source has no such stream")


def labels(had: Inventory, has: Inventory) -> Iterator[Row]:
    """What is said of the picture and of the whole file: chapters, timecode, dispositions, language, tags."""
    if had.chapters or has.chapters:
        yield _chapters(had, has)
    if had.timecode or has.timecode:
        yield _timecode(had, has)
    yield from _track_labels("picture", had.picture, has.picture)
    yield from _tags("file", had.tags, has.tags)


def _track_labels(name: str, track: Track, twin: Track) -> Iterator[Row]:
    if track.language or twin.language:
        seen = (track.language or "-", twin.language or "-")
        yield _row(f"{name}: language", twin.language in codes_of(track.language), *seen, "another one")
    missing, added = track.disposition & ~twin.disposition, twin.disposition & ~track.disposition
    seen = (_disposition(track.disposition), _disposition(twin.disposition))
    if not missing | added:
        if track.disposition:
            yield Row(f"{name}: disposition", "kept", *seen)
    elif added == _DEFAULT and not missing:
        yield Row(f"{name}: disposition", "changed", *seen, "QuickTime enables the first track of a kind")
    elif any(missing | added == also and track.disposition & twin.disposition & one for one, also in _IMPAIRED):
        yield Row(f"{name}: disposition", "changed", *seen, "for those who are impaired: QuickTime's word means both")
    else:
        yield Row(f"{name}: disposition", "lost", *seen, "not the same")
    # When a track was written is true of the file it was in, as the file's own date is kept.
    yield from _tags(name, {k: v for k, v in track.tags.items() if k.lower() != "creation_time"}, twin.tags)


def _tags(name: str, wanted: Tags, held: Tags) -> Iterator[Row]:
    """One row for all of a thing's tags; names are compared without regard to case, as containers disagree on it."""
    mine = {k: v for k, v in _plain(wanted).items() if k not in _OWN_TAGS and not k.startswith("_statistics")}
    if mine.get("creation_time", "").startswith(_NO_DATES):
        del mine["creation_time"]
    theirs = _plain(held)
    if not mine:
        return
    gone = sorted(k for k, v in mine.items() if theirs.get(k) != v)
    seen = (_listed(mine), _listed({k: theirs[k] for k in mine if k in theirs}))
    yield _row(f"{name}: tags", not gone, *seen, f"lost or altered: {', '.join(gone)}")


def _plain(tags: Tags) -> Tags:
    """Tags by lower-case names; a track's name is its title, as QuickTime has it."""
    lower = {k.lower(): v for k, v in tags.items()}
    if "name" in lower:
        lower.setdefault("title", lower.pop("name"))
        lower.pop("name", None)
    return lower


def _timecode(had: Inventory, has: Inventory) -> Row:
    seen = (had.timecode or "-", has.timecode or "-")
    rate = rate_of_pictures(had.frame_rate, len(has.times), len(had.times)) if had.times else had.frame_rate
    wanted = restated(had.timecode, had.frame_rate, rate)
    if has.timecode == wanted != had.timecode:
        return Row("timecode", "changed", *seen, f"restated: the same moment at {float(rate):.6g} pictures a second")
    return _row("timecode", has.timecode == wanted, *seen, "another one")


def _chapters(had: Inventory, has: Inventory) -> Row:
    seen = (f"{len(had.chapters)}", f"{len(has.chapters)}")
    if len(had.chapters) != len(has.chapters):
        return Row("chapters", "lost", *seen, "not as many")
    for number, (a, b) in enumerate(zip(had.chapters, has.chapters, strict=True), 1):
        # Containers count chapters in milliseconds.
        if abs(a[0] - b[0]) >= Fraction(1, 1000) or abs(a[1] - b[1]) >= Fraction(1, 1000):
            return Row("chapters", "lost", *seen, f"chapter {number} is elsewhere: {float(b[0])}, not {float(a[0])} s")
        if a[2].get("title", "") != b[2].get("title", ""):
            return Row("chapters", "lost", *seen, f"chapter {number} is called otherwise")
    return Row("chapters", "kept", *seen)


def _apart(
    name: str, wanted: Sequence[Fraction], held: Sequence[Fraction], wanted_base: Fraction, held_base: Fraction
) -> Row:
    """Two lists of times of one length, which a container with coarser ticks may round."""
    apart = [abs(a - b) for a, b in zip(wanted, held, strict=True)]
    worst = max(apart, default=Fraction(0))
    seen = (_span(wanted), _span(held))
    return _within(name, seen, worst, apart.index(worst) if apart else 0, wanted_base, held_base)


def _packets_apart(name: str, track: Track, twin: Track, later: Fraction, ends: bool) -> Row:
    """The same of two tracks' packets, by when they begin or, with `ends`, by when they end."""
    if ends and not track.lengths.any():
        return Row(name, "kept", "unsaid", "said" if twin.lengths.any() else "unsaid")
    wanted = track.ticks + round(later / track.time_base) + track.lengths * ends
    held = twin.ticks + twin.lengths * ends
    # In a unit that both files' ticks are whole numbers of.
    unit = Fraction(1, math.lcm(track.time_base.denominator, twin.time_base.denominator))
    apart = np.abs(wanted * int(track.time_base / unit) - held * int(twin.time_base / unit))
    worst = int(apart.argmax()) if len(apart) else 0
    seen = (_span([t * track.time_base for t in _ends_of(wanted)]), _span([t * twin.time_base for t in _ends_of(held)]))
    far = int(apart[worst]) * unit if len(apart) else Fraction(0)
    return _within(name, seen, far, worst, track.time_base, twin.time_base)


def _ends_of(ticks: npt.NDArray[np.int64]) -> list[int]:
    return [int(ticks.min()), int(ticks.max())] if len(ticks) else []


def _within(
    name: str, seen: tuple[str, str], worst: Fraction, number: int, wanted_base: Fraction, held_base: Fraction
) -> Row:
    if not worst:
        return Row(name, "kept", *seen)
    note = f"number {number} is {float(worst) * 1000:.3f} ms off"
    rounds = (wanted_base / held_base).denominator != 1
    if rounds and worst <= held_base / 2:
        return Row(name, "changed", *seen, f"rounded to ticks of {held_base} s; {note}")
    return Row(name, "lost", *seen, note)


def _twins(had: Sequence[Track], has: Sequence[Track]) -> dict[int, Track]:
    """For each of the source's tracks the master's: of the same bytes, or else the next of the same type.

    One that is empty has no other twin than an empty one.
    """
    free = [track for track in has if not track.helper]
    twins: dict[int, Track] = {}
    for same in (True, False):
        for track in had:
            if track.helper or track.index in twins or not (same or track.packets):
                continue
            alike = (t for t in free if t.type == track.type and (not same or t.sha256 == track.sha256))
            twin = next(alike, None)
            if twin is not None:
                twins[track.index] = twin
                free.remove(twin)
    return twins


def _is_cover(track: Track) -> bool:
    return bool(track.disposition & av.stream.Disposition.attached_pic)


def _bytes(data: bytes | None) -> str:
    return "-" if data is None else f"{len(data)} bytes"


def _present(there: bool) -> str:
    return "present" if there else "-"


def _packets(track: Track) -> str:
    return f"{track.packets} packets" if track.type != "attachment" else "1 file"


def _span(moments: Sequence[Fraction]) -> str:
    return f"{float(min(moments)):.6f} to {float(max(moments)):.6f} s" if moments else "none"


def _disposition(flags: int) -> str:
    return ", ".join(flag.name or "" for flag in av.stream.Disposition if flags & flag) or "-"


def _listed(tags: Tags) -> str:
    return ", ".join(sorted(tags)) or "-"
