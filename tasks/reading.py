"""How a title's frames become pictures: what was seen of them, what was asked, and what comes of both.

The fields of a title are looked at only where its frame table or its profile gives a reason; what is found is kept in
the store, so that it is looked for once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from tasks.errors import UnsupportedSource
from tasks.media.cadence.cadence import Cadence, Evidence, Part, cadence_of, classify, gather
from tasks.media.cadence.fields import FIELDS_VERSION, Fields, measure
from tasks.media.cadence.read import read_window, window
from tasks.media.cadence.recipe import Choice, Pictures, pictures_of
from tasks.media.reading.repeats import count_repeat_flags
from tasks.media.reading.timeline import Timeline
from tasks.records import CadenceNote, Title, content_key, from_sealed, to_sealed
from tasks.sources import open_source, require_unchanged
from tasks.store import Store
from tasks.tables import fields_table, read_fields_table

_MOST_PARTS = 20  # that are named


@dataclass(frozen=True)
class RepeatFlags:
    """What is kept of a title's flags: how many frames are to be shown for a field more."""

    frames: int


@dataclass(frozen=True)
class Reading:
    """How a title is read.

    Attributes:
        asked: the profile's `cadence`.
        evidence: what was counted.
        seen: the title's parts by the evidence.
        pictures: of the master.
    """

    asked: str
    evidence: Evidence
    seen: tuple[Part, ...]
    pictures: Pictures

    @property
    def cadence(self) -> Cadence:
        """What the title is, in a word."""
        return cadence_of(self.seen)

    @property
    def treatment(self) -> str:
        """What is done about it, in a word or two."""
        return ", ".join(self.pictures.treatments)

    def note(self) -> CadenceNote:
        """All of it in short."""
        parts = [part.words() for part in self.seen[:_MOST_PARTS]]
        more = len(self.seen) - len(parts)
        counts = {name: int(value) for name, value in asdict(self.evidence).items()}
        return CadenceNote(
            cadence=self.cadence,
            treatment=self.treatment,
            parts=(*parts, *([f"and {more} more"] if more else [])),
            pictures=len(self.pictures),
            evidence=counts,
        )


def read_cadence(
    title: Title, asked: str, timeline: Timeline, source_print: str, store: Store, seek: int | None = None
) -> Reading:
    """Decide on a title's pictures.

    Args:
        title: as scanned.
        asked: the profile's `cadence`.
        timeline: its frame table.
        source_print: fingerprint of its bytes.
        store: where what is seen of its fields is kept.
        seek: timestamp of a key frame from which the frames of the table decode, if they are not the whole title;
            nothing before it is read, and no flags are counted.

    Raises:
        UnsupportedSource: what was asked makes no sense of this title.
        SourceError, SourceChanged: see `read_window`.
    """
    probe = title.probe
    assert probe is not None
    flags = probe.codec == "mpeg2video" and seek is None
    repeat_flags = _repeat_flags(title, source_print, store) if flags else -1
    evidence = gather(timeline, probe.field_order, repeat_flags)
    fields = None
    if evidence.suspect(probe.height) or asked in {"fields", "detelecine", "deduplicate"}:
        fields = _fields(title, timeline, source_print, store, seek)
    # What is too small for fields is looked at for repeated frames only.
    combs = fields if evidence.suspect(probe.height) or asked in {"fields", "detelecine"} else None
    seen = classify(timeline, evidence, combs)
    if asked == "detelecine":
        _require_film(title, evidence, seen)
        seen = classify(timeline, evidence, combs, film_only=True)
    choice = Choice(double=asked == "fields", deduplicate=asked == "deduplicate")
    pictures = pictures_of(_treated(asked, evidence, seen), timeline, probe.time_base, fields, choice)
    return Reading(asked, evidence, seen, pictures)


def remarks_on(reading: Reading) -> Iterator[str]:
    """How fields and repeated frames are treated, and where a forced choice goes against what is seen."""
    evidence, seen, asked = reading.evidence, reading.seen, reading.asked
    words = evidence.words()
    kinds = {part.kind for part in seen}
    video = bool(kinds & {"top", "bottom"})
    if asked == "progressive" and kinds & {"top", "bottom", "telecine", "shifted"}:
        what = "interlaced" if video else "like film in interlaced video"
        yield (
            f"the source looks {what} ({words}) and is read as progressive as asked, so that combs are upscaled: set"
            ' cadence to "auto"'
        )
    elif asked == "deinterlace" and not video:
        better = "has pictures that can be had whole" if kinds & {"telecine", "shifted"} else "does not look interlaced"
        yield (
            f"the source {better} ({words}) and is deinterlaced as asked, which softens them: leave cadence at"
            ' "auto" unless you know better'
        )
    else:
        yield from _on_treatment(reading, video)
    if asked == "deduplicate" and "deduplicate" not in reading.pictures.treatments:
        yield 'no frame repeats the one before, so none is left out: cadence can be left at "auto"'
    if (asked == "fields" and not video) or (asked == "detelecine" and not kinds & {"telecine", "shifted"}):
        yield f'no part of the source is such that cadence "{asked}" makes a difference: it can be left at "auto"'
    if len(kinds) > 1:
        parts = [part.words() for part in seen]
        named = "; ".join(parts[:_MOST_PARTS]) + ("; ..." if len(parts) > _MOST_PARTS else "")
        yield f"the source is of more than one cadence: {named}"


def _on_treatment(reading: Reading, video: bool) -> Iterator[str]:
    evidence, pictures = reading.evidence, reading.pictures
    counts = f"{len(pictures)} pictures of {evidence.frames} frames"
    if video and reading.asked != "progressive":
        each = "field" if "fields" in pictures.treatments else "frame"
        yield f"the source is interlaced ({evidence.words()}): deinterlaced, one picture for each {each}"
    if "inverse telecine" in pictures.treatments:
        if len(pictures) < evidence.frames:
            yield f"the source is film in interlaced video (3:2): its pictures are put together again, {counts}"
        else:
            yield (
                "the source is film in interlaced video (3:2): its pictures are put together again; none is left out,"
                " as closed captions would go with it"
            )
    if "weave" in pictures.treatments:
        yield "the two fields of each picture are in neighbouring frames: they are put together again"
    if "deduplicate" in pictures.treatments:
        yield f"frames that repeat the one before are left out as asked: {counts}; times are kept"


def _require_film(title: Title, evidence: Evidence, seen: tuple[Part, ...]) -> None:
    kinds = {part.kind for part in seen}
    if kinds & {"top", "bottom"} and not kinds & {"telecine", "shifted"}:
        raise UnsupportedSource(
            f"{title.name}: no telecined film can be seen in it, but video ({evidence.words()}), whose fields cadence"
            ' "detelecine" would put together wrongly. Set cadence to "auto", or to "deinterlace" for all of it.'
        )


def _treated(asked: str, evidence: Evidence, seen: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts as they are treated: all alike where that was asked."""
    if asked == "progressive":
        return (Part(0, evidence.frames, "progressive"),)
    if asked == "deinterlace":
        order = evidence.top_first
        return (Part(0, evidence.frames, "top" if order else "bottom", order),)
    return seen


def _repeat_flags(title: Title, source_print: str, store: Store) -> int:
    probe = title.probe
    assert probe is not None
    place = f"repeats/{content_key({'source': source_print, 'stream': probe.stream})}"
    try:
        return from_sealed(RepeatFlags, store.read(place)).frames
    except (FileNotFoundError, ValueError):  # damaged, it is made again
        with open_source(title.uri, title.name) as source:
            found = count_repeat_flags(source, probe.stream)
        require_unchanged(title)
        store.write(place, to_sealed(RepeatFlags(found)))
        return found


def _fields(title: Title, timeline: Timeline, source_print: str, store: Store, seek: int | None) -> Fields:
    probe = title.probe
    assert probe is not None
    key = content_key({"source": source_print, "stream": probe.stream, "version": FIELDS_VERSION})
    place = f"fields/{key}.parquet"
    try:
        return read_fields_table(store.read(place))
    except (FileNotFoundError, ValueError):
        with open_source(title.uri, title.name) as source:
            all_of_it = window(timeline, 0, len(timeline))
            wanted = all_of_it if seek is None else replace(all_of_it, seeks=(seek,))
            frames = read_window(source, probe.stream, probe.layout, wanted)
            fields = measure(frames, probe.layout)
        require_unchanged(title)
        store.write(place, fields_table(fields))
        return fields
