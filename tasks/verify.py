"""Holding masters against their receipts, segments against their records and all else in a store against its seal, long
after the run that made them.

Reads, and changes nothing. Every finding names the file, whose it is and what to do; a damaged master's names the
frames and shards too. Knows neither Prefect nor Ray.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.errors import SourceError, UsageError
from tasks.finish import is_held
from tasks.kept import Kind, kind_of
from tasks.media.reading.checksums import count_frames, whole_frames
from tasks.parts import wrong_with_part
from tasks.receipt import SUFFIX, Receipt, from_bytes, receipt_place, require_signed
from tasks.records import MasterRecord, Record, from_sealed, segment_place
from tasks.scan import VIDEO_SUFFIXES
from tasks.seal import has_seal
from tasks.sequences import SHORTEST, is_title
from tasks.sources import open_source
from tasks.store import Digest, Store, stat
from tasks.store.sequence import Pattern, runs_in

_AGAIN = "run the library again (`remaster rerun RUN`)"
_NO_RECEIPT = f"To have it written, {_AGAIN}: the master is not made anew."
_BAD_RECEIPT = f"Restore it from a copy; or delete it and {_AGAIN}, which writes it anew."
_BAD_MASTER = f"Restore it from a copy; or {_AGAIN}, which joins it anew from its segments."
_BAD_SEGMENT = f"To have this shard, and no other, made anew, {_AGAIN}."


@dataclass(frozen=True)
class Finding:
    """What was seen of one file.

    Attributes:
        place: its URI.
        ok: whether it is what it should be.
        seen: in what way it is not, and whose it is; or what it holds.
        remedy: what to do; empty if nothing.
    """

    place: str
    ok: bool
    seen: str
    remedy: str = ""


def verify(place: str, key: str, shards: Mapping[str, str]) -> Iterator[Finding]:
    """Re-check a master, a folder of masters, or a store; one finding a file that was to be checked.

    Args:
        place: normalised URI.
        key: public key, as base64, that every receipt must be signed by; empty: none in particular.
        shards: what a person calls the shards of a store, by key.

    Raises:
        UsageError: there is nothing of that name, or nothing in it to check.
        StoreError: the storage does not answer.
    """
    if _is_file(place):
        folder, leaf = posixpath.split(place)
        yield _verify_master(Store(folder or "/"), leaf.removesuffix(SUFFIX), key)
    elif is_store(place):
        yield from _verify_store(Store(place), shards)
    else:
        yield from _verify_folder(Store(place), key)


def is_store(place: str) -> bool:
    """True for a folder that holds the records of shards."""
    return not _is_file(place) and bool(Store(place).list("records") or Store(place).list("segments"))


def _is_file(place: str) -> bool:
    try:
        stat(place)
    except FileNotFoundError:
        return False
    return True


def _verify_folder(output: Store, key: str) -> Iterator[Finding]:
    """Every master and every receipt below a folder; what is hidden, as a store is, is passed over."""
    files = [file for file in output.list() if not any(part.startswith(".") for part in file.split("/"))]
    receipts = {file.removesuffix(SUFFIX) for file in files if file.endswith(SUFFIX)}
    masters = {file for file in files if posixpath.splitext(file)[1].lower() in VIDEO_SUFFIXES}
    masters |= {str(run) for run in runs_in(files, SHORTEST) if _is_master(run)}
    if not masters | receipts:
        raise UsageError(f"{output.root}: holds no master and is no store. Check the path (quote names with spaces).")
    for master in sorted(masters | receipts):
        yield _verify_master(output, master, key)


def _is_master(run: Pattern) -> bool:
    """True for a run of a kind made for film, and for one of any in a folder that is called like it, as ours are."""
    name = posixpath.basename(run.folder)
    return is_title(run, None) or f"/{run.start}".endswith(f"/{name}/{name}.")


def _verify_master(output: Store, name: str, key: str) -> Finding:
    place = receipt_place(name)
    try:
        receipt = from_bytes(output.read(place))
        require_signed(receipt, key)
    except FileNotFoundError:
        return Finding(output.uri(name), False, f"has no receipt ({place})", _NO_RECEIPT)
    except ValueError as error:
        return Finding(output.uri(place), False, f"the receipt of {name} is not to be believed: {error}", _BAD_RECEIPT)
    bad = _wrong_with_master(receipt, output, name)
    if bad:
        return Finding(output.uri(name), False, f"master of {receipt.source.name}: {bad}", _BAD_MASTER)
    proof = receipt.signature
    by = "unsigned" if proof == "unsigned" else f"signed by {proof.public_key}"
    return Finding(output.uri(name), True, f"{receipt.master.frames} frames, {by}")


def _wrong_with_master(receipt: Receipt, output: Store, name: str) -> str:
    """In what way a master is not what its receipt says; empty if it is."""
    wanted = receipt.master
    try:
        found = output.digest(name)
    except FileNotFoundError:
        return "is gone"
    if found != Digest(wanted.sha256, wanted.size):
        how = f"{found.size} bytes of {wanted.size}" if found.size != wanted.size else "its bytes have changed"
        return f"{how}; {_which_frames(receipt, output, name)}"
    return _miscounted(output.uri(name), name, wanted.picture, wanted.frames)


def _which_frames(receipt: Receipt, output: Store, name: str) -> str:
    """Where a picture differs from what the receipt knows of its frames, in words."""
    try:
        with open_source(output.uri(name), name) as source:
            found = whole_frames(source, receipt.master.picture)
    except (SourceError, IndexError, AssertionError):
        return "it cannot be opened as a video any more"
    wanted = receipt.master.checksums
    differ = [n for n in range(len(wanted)) if n >= len(found) or found[n] != wanted[n]]
    if not differ:
        return "its picture is whole: the damage is in its sound, another stream or its container"
    shards = [f"[{s.start},{s.stop})" for s in receipt.shards if any(s.start <= n < s.stop for n in differ)]
    named = ", ".join(shards[:5]) + (f" and {len(shards) - 5} more" if len(shards) > 5 else "")
    return f"{len(differ)} of {len(wanted)} frames differ, the first is frame {differ[0]}; shards {named}"


def _miscounted(uri: str, label: str, picture: int, frames: int) -> str:
    try:
        with open_source(uri, label) as source:
            held = count_frames(source, picture)
    except SourceError as error:
        return str(error)
    return "" if held == frames else f"holds {held} frames, not {frames}"


def _verify_store(store: Store, shards: Mapping[str, str]) -> Iterator[Finding]:
    """Every file of a known kind; what is on its way to the store, and what others put there, is passed over."""
    named = set()
    segments = []
    for place in store.list():
        if place.startswith("records/"):
            finding, segment = _verify_shard(store, place, shards)
            named.add(segment)
            yield finding
        elif place.startswith("segments/"):
            segments.append(place)
        elif kind := kind_of(place):
            yield from _verify_kept(store, place, kind)
        elif place.startswith("parts/"):
            yield from _verify_part(store, place)
    for place in segments:
        if place not in named:
            yield from _verify_unnamed(store, place)


def _verify_kept(store: Store, place: str, kind: Kind) -> Iterator[Finding]:
    try:
        data = store.read(place)
        kind.prove(data)
    except FileNotFoundError:
        return  # it is of something that has just ended
    except ValueError as error:
        yield Finding(store.uri(place), False, f"{kind.name}: is damaged ({_line(error)})", kind.remedy)
        return
    seen = "whole" if has_seal(data) else "readable, and without a seal, as older versions wrote it"
    yield Finding(store.uri(place), True, f"{kind.name}: {seen}")
    if place.startswith("masters/"):
        yield from _verify_waiting(from_sealed(MasterRecord, data))


def _verify_waiting(record: MasterRecord) -> Iterator[Finding]:
    """The bytes of a master that waits for a person; one that is published is verified beside its receipt."""
    if not is_held(record.uri):
        return
    folder, leaf = posixpath.split(record.uri)
    try:
        found = Store(folder).digest(leaf)
    except FileNotFoundError:
        return  # a person has decided
    ok = found == Digest(record.sha256, record.size)
    seen = f"master that waits for a person: {'whole' if ok else 'its bytes have changed'}"
    yield Finding(record.uri, ok, seen, "" if ok else _BAD_MASTER)


def _verify_unnamed(store: Store, place: str) -> Iterator[Finding]:
    """A segment that no record speaks of, such as one that was made again: its name knows its hash."""
    try:
        whole = place == segment_place(posixpath.basename(place)[:64], store.digest(place).sha256)
    except FileNotFoundError:
        return
    what = "segment that no record speaks of"
    if whole:
        yield Finding(store.uri(place), True, what)
    else:
        yield Finding(store.uri(place), False, f"{what}: its bytes have changed", "Delete it: nothing needs it.")


def _verify_part(store: Store, place: str) -> Iterator[Finding]:
    """A part of a source whose picture changes size."""
    wrong = wrong_with_part(place, store)
    if wrong is not None:
        remedy = f"Delete it and {_AGAIN}: it is made again from its source." if wrong else ""
        yield Finding(store.uri(place), not wrong, f"part of a source: {wrong or 'whole'}", remedy)


def _verify_shard(store: Store, place: str, shards: Mapping[str, str]) -> tuple[Finding, str]:
    """What is to be said of a shard, and the key of the segment that its record names, if it can be read."""
    key = posixpath.splitext(posixpath.basename(place))[0]
    whose = f"shard {shards[key]}" if key in shards else "a shard of no run that this store knows"
    try:
        record = from_sealed(Record, store.read(place))
    except FileNotFoundError:
        return Finding(store.uri(place), False, f"record of {whose}: is gone", _BAD_SEGMENT), ""
    except ValueError as error:
        return Finding(store.uri(place), False, f"record of {whose}: is damaged: {_line(error)}", _BAD_SEGMENT), ""
    if record.key != key:
        return Finding(store.uri(place), False, f"record of {whose}: speaks of another shard", _BAD_SEGMENT), ""
    bad = _wrong_with_segment(record, store)
    if bad:
        return Finding(store.uri(record.segment), False, f"segment of {whose}: {bad}", _BAD_SEGMENT), record.segment
    return Finding(store.uri(record.segment), True, f"{record.frames} frames of {whose}"), record.segment


def _wrong_with_segment(record: Record, store: Store) -> str:
    try:
        found = store.digest(record.segment)
    except FileNotFoundError:
        return "is gone"
    if found.size != record.size:
        return f"{found.size} bytes of {record.size}"
    if found.sha256 != record.sha256:
        return "its bytes have changed"
    return _miscounted(store.uri(record.segment), "the segment", 0, record.frames)


def _line(error: ValueError) -> str:
    return str(error).splitlines()[0]
