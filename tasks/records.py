"""The nouns of the product as plain data: title, shard, what a worker is asked and what it answers.

All of it is small, frozen and turns to JSON and back without loss (`to_json`, `from_json`); frames never are in here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from tasks.media.cadence.read import Window
from tasks.media.cadence.recipe import Recipe
from tasks.media.picture.bars import Bars
from tasks.media.picture.colour import Colour
from tasks.media.picture.hdr import Hdr
from tasks.media.picture.pixels import Layout
from tasks.media.reading.probe import Probe
from tasks.media.writing.carry import Copied
from tasks.seal import opened, sealed
from tasks.store.sequence import IMAGE_SUFFIXES, Pattern, pattern_of

T = TypeVar("T")
# How the pictures of a title that is no run of numbered files are numbered: from 0, as everywhere here.
_NUMBERED = Pattern("", 6, "")


@dataclass(frozen=True)
class Title:
    """One source of a library: a video, or a run of numbered image files.

    Attributes:
        name: its path within the library: what a person calls it.
        uri: where its bytes are; of numbered files their pattern, and how fast they are shown.
        size: bytes.
        stamp: changes when the bytes may have changed (modification time or ETag).
        probe: what it is; None if it could not be read.
        container: of its master; empty if refused.
        refused: why it will not be remastered and what to do; empty if it will be.
        remarks: what the master will not hold exactly.
        left: why it is left for a later run; empty if it is not.
    """

    name: str
    uri: str
    size: int
    stamp: str
    probe: Probe | None = None
    container: str = ""
    refused: str = ""
    remarks: tuple[str, ...] = ()
    left: str = ""

    @property
    def id(self) -> str:
        """A short name without odd characters, for keys."""
        return hashlib.blake2b(self.name.encode(errors="surrogateescape"), digest_size=8).hexdigest()

    @property
    def master(self) -> str:
        """The master's path within the output; of one in numbered files, their pattern in a folder of their own."""
        folder, slash, leaf = self.name.rpartition("/")
        run = pattern_of(self.name)
        stem, dot, _ = leaf.rpartition(".")
        own = run.stem if run else stem if dot and stem else leaf
        if f".{self.container}" in IMAGE_SUFFIXES:
            return f"{folder}{slash}{own}/{replace(run or _NUMBERED, start=f'{own}.', suffix=f'.{self.container}')}"
        return f"{folder}{slash}{own}.{self.container}"


@dataclass(frozen=True)
class Shard:
    """A contiguous range of a title's pictures: the unit of work, retry and caching.

    Attributes:
        title: the title's name.
        index: 0, 1, ... in the title.
        start, stop: pictures [start, stop); where nothing is done about a title's cadence, pictures are frames.
        warm_up: pictures before `start` to feed and throw away.
        look_ahead: pictures from `stop` on to feed, so that the last ones are made as in an unbroken run.
        cut: why it starts where it does: "start" of the title, "shot" change, or "length".
        first_pts, last_pts: of the first and the last frame that is shown in it.
        seek_pts: of the nearest key frame at or before the first frame to decode.
        cost: estimated work, in source megapixels times frames, warm-up and look-ahead included.
        key: content hash of everything that decides its pixels.
    """

    title: str
    index: int
    start: int
    stop: int
    warm_up: int
    look_ahead: int
    cut: Literal["start", "shot", "length"]
    first_pts: int
    last_pts: int
    seek_pts: int
    cost: float
    key: str

    @property
    def name(self) -> str:
        """What a person calls it, e.g. `dog.mp4 [120,240)`."""
        return f"{self.title} [{self.start},{self.stop})"

    @property
    def record(self) -> str:
        """Store key of its record."""
        return record_place(self.key)


@dataclass(frozen=True)
class CadenceNote:
    """What was seen of a title's cadence and done about it.

    Attributes:
        cadence: what it is (`tasks.media.cadence.cadence`), in a word.
        treatment: what was done (`tasks.media.cadence.recipe`).
        parts: its parts, in words.
        pictures: of the master.
        evidence: what was counted, by name.
    """

    cadence: str
    treatment: str
    parts: tuple[str, ...]
    pictures: int
    evidence: dict[str, int]


@dataclass(frozen=True)
class Network:
    """Which network makes a shard, and how.

    Attributes:
        model: registry name or path of a weights file.
        precision: "auto", "float32", "bfloat16" or "float16".
        tile: side of a tile in source pixels; 0: whole frames; "auto": as large as memory allows.
        tile_overlap: source pixels discarded at each inner edge of a tile.
        model_settings: of the network, by name.
    """

    model: str
    precision: str = "auto"
    tile: int | Literal["auto"] = 0
    tile_overlap: int = 16
    model_settings: tuple[tuple[str, str | int | float | bool], ...] = ()


@dataclass(frozen=True)
class Revision:
    """A shard that is to be made otherwise than the rest of its title.

    Attributes:
        title: the title's name.
        start, stop: the shard's pictures, [start, stop).
        settings: dotted names and values that replace the profile's.
        reason: why, in somebody's words.
        again: it is to be made even if it is done.
        filled: it stands in for a shard that could not be made.
    """

    title: str
    start: int
    stop: int
    settings: tuple[tuple[str, str | int | float | bool], ...] = ()
    reason: str = ""
    again: bool = False
    filled: bool = False

    @property
    def words(self) -> str:
        """What is otherwise and why, for a person."""
        changes = ", ".join(f"{name}={value}" for name, value in self.settings)
        how = f"filled in with {changes}" if self.filled else f"made with {changes}" if changes else "made again"
        return f"{how}: {self.reason}" if self.reason else how


def record_place(key: str) -> str:
    """Store key of the record of a shard."""
    return f"records/{key[:2]}/{key}.json"


def segment_place(key: str, sha256: str) -> str:
    """Store key of a segment with this content of the shard with this key."""
    return f"segments/{key[:2]}/{key}-{sha256[:16]}.mkv"


@dataclass(frozen=True)
class Work:
    """What a worker is asked to do: everything it needs to turn one range of a source into one segment.

    Attributes:
        shard: which one.
        source: URI of the title.
        stream: index of the picture stream.
        height, width: of a source frame, without the bars that are cut off.
        bars: what is cut off before the network, in source pixels.
        result: rows and columns of what is made of it.
        restored: what is put around that as exact black, in pixels of the result.
        layout, colour: of the source's planes.
        window: frames to decode, for the pictures from the warm-up's first to the last of what is looked ahead.
        recipe: of those pictures; empty if they are the frames.
        cuts: numbers of those pictures at which a shot begins.
        seed: base of every random draw.
        weights_hash: of the network the shard's key speaks of.
        target_layout, target_colour: of the segment's planes.
        store: root URI of the store.
        network: that makes it; None for the one the worker was started with.
        hdr: what is done about the source's HDR, if it is; shots are those of the window.
    """

    shard: Shard
    source: str
    stream: int
    height: int
    width: int
    bars: Bars
    result: tuple[int, int]
    restored: Bars
    layout: Layout
    colour: Colour
    window: Window
    recipe: Recipe
    cuts: tuple[int, ...]
    seed: int
    weights_hash: str
    target_layout: Layout
    target_colour: Colour
    store: str
    network: Network | None = None
    hdr: Hdr | None = None


@dataclass(frozen=True)
class LightLevels:
    """How bright an HDR shard is, in nits: what MaxCLL and MaxFALL are of a title.

    Attributes:
        source_most, source_average: of the source: its brightest channel, and the highest mean of a frame.
        most, average: of what was made of it.
    """

    source_most: float
    source_average: float
    most: float
    average: float


@dataclass(frozen=True)
class Record:
    """Proof that a shard is done; written last, so it is the commit mark.

    Attributes:
        key: of the shard.
        sha256, size: of the segment.
        frames: in the segment.
        fidelity: lowest PSNR in dB over sampled frames of the reduced output against the source.
        least_alike: frame number where that was.
        seconds: wall time in the worker: "decode", "model" and "write" overlap, "total" does not add up from them.
        worker: who made it.
        rung: step of the degrade ladder it was made on (see `pool.ladder`; 0: as asked).
        made: what was not as asked, or left to the worker to choose, in words; empty if nothing.
        software: versions of what made it.
        light: if it stayed HDR.
    """

    key: str
    sha256: str
    size: int
    frames: int
    fidelity: float
    least_alike: int
    seconds: dict[str, float]
    worker: str
    rung: int = 0
    made: str = ""
    software: dict[str, str] = field(default_factory=dict)
    light: LightLevels | None = None

    @property
    def segment(self) -> str:
        """Store key of its segment, which is named by its content: another one never takes its place."""
        return segment_place(self.key, self.sha256)


@dataclass(frozen=True)
class MasterRecord:
    """Proof that a master is published.

    Attributes:
        key: content hash of everything that decides its bytes.
        uri: where it is.
        sha256, size: of the file.
        frames: in its picture stream.
        picture: index of the picture stream.
        copied: what became of each other stream of the source.
        seconds: wall time of making it.
        software: versions of what made it.
    """

    key: str
    uri: str
    sha256: str
    size: int
    frames: int
    picture: int
    copied: tuple[Copied, ...]
    seconds: float
    software: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """Something wrong with pictures [start, stop): what, and what was seen of it, in words."""

    name: str
    start: int
    stop: int
    seen: str


@dataclass(frozen=True)
class CheckResult:
    """The verdict on a master: each contract with whether it holds and what was seen; and the faults of its picture."""

    passed: bool
    lines: tuple[tuple[str, bool, str], ...] = field(default=())
    faults: tuple[Fault, ...] = ()


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(value: Any) -> bytes:
    """A record as JSON."""
    return _adapter(type(value)).dump_json(value, indent=1)


def from_json(kind: type[T], data: bytes | str) -> T:
    """A record from its JSON.

    Raises:
        ValueError: not that kind of record.
    """
    return _adapter(kind).validate_json(data)  # type: ignore[no-any-return]


def to_sealed(value: Any) -> bytes:
    """A record as JSON that proves itself (see `tasks.seal`)."""
    return sealed(to_json(value))


def from_sealed(kind: type[T], data: bytes) -> T:
    """A record from such JSON; older versions wrote it without a seal.

    Raises:
        ValueError: not that kind of record, or not as it was written.
    """
    return from_json(kind, opened(data))


def content_key(parts: dict[str, Any]) -> str:
    """blake2b-256 hex over a canonical JSON of `parts` (dataclasses allowed)."""
    plain = _adapter(dict[str, Any]).dump_python(parts, mode="json")
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(canonical.encode(), digest_size=32).hexdigest()
