"""Receipts: the file beside each master that says what it was made of, by what, and what its bytes and frames are.

The same master has the same receipt to the byte: no times, no names of machines, no places, but for what persons said
of it (`reviews`). Its last member is a seal over all of it; with a key it is signed too. Knows how a receipt is made,
written and read, not what to do about a master that does not match it (`tasks.verify`).
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import StoreDamaged
from tasks.hold import Decision
from tasks.media.cadence.cadence import Cadence
from tasks.profile import Profile
from tasks.records import CheckResult, MasterRecord, Record, Shard, content_key
from tasks.seal import is_sealed, opened, sealed
from tasks.signing import Signer, is_signed
from tasks.store import Store
from tasks.trust import doubts

if TYPE_CHECKING:
    from tasks.plan import Plan

SUFFIX = ".receipt.json"
RECEIPT_VERSION = 1
CHECKSUM = "crc32 of all samples of the decoded frame"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SourceLine(_Part):
    """The source: its name in the library, BLAKE2b-256 and size of its bytes, its cadence and what was done with it.

    `doubts`: what of it is damaged, or does not say when it is shown.
    """

    name: str
    blake2b: str
    size: int
    cadence: Cadence = "progressive"
    treatment: str = "pass"
    doubts: list[str] = Field(default_factory=list)


class ModelLine(_Part):
    """The network: see `vsr_model.contract.ModelRef`. A weights file is called by its name, not its place."""

    name: str
    weights_hash: str
    version: int
    settings: dict[str, str | int | float | bool]


class ShardLine(_Part):
    """A shard: its pictures [start, stop), key, and its segment's SHA-256; `rung` and `made` where not as asked.

    `settings`, `weights_hash` and `reason` where it is made otherwise than the others: what replaces the profile's.
    """

    start: int
    stop: int
    key: str
    segment: str
    rung: int = 0
    made: str = ""
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    weights_hash: str = ""
    reason: str = ""


class MasterLine(_Part):
    """The master: its path in the output, its bytes, and its picture's stream, frames and their checksums."""

    name: str
    sha256: str
    size: int
    picture: int
    frames: int
    checksum: str
    checksums: list[str]


class SoftwareLine(_Part):
    """Versions: what the master was made with, and what its shards were, each combination once."""

    master: dict[str, str]
    shards: list[dict[str, str]]


class ReviewLine(_Part):
    """What a person said of this master, or of one before it: who, when (UTC), what they accepted or rejected."""

    verdict: Literal["approved", "rejected"]
    by: str
    at: str
    note: str = ""
    accepted: list[str] = Field(default_factory=list)
    rejected: list[list[int]] = Field(default_factory=list)


class Signature(_Part):
    """An Ed25519 signature of the receipt without this member; both values are base64."""

    algorithm: Literal["ed25519"]
    public_key: str
    value: str


class Receipt(_Part):
    """What is known of a master. `check` names the contracts it does not keep, with what was seen.

    `reviews` are what persons decided at the gate, the latest last.
    """

    receipt: int
    source: SourceLine
    model: ModelLine
    profile: dict[str, Any]
    shards: list[ShardLine]
    software: SoftwareLine
    master: MasterLine
    check: list[str]
    reviews: list[ReviewLine] = Field(default_factory=list)
    signature: Signature | Literal["unsigned"]


def make_receipt(
    plan: Plan,
    profile: Profile,
    records: list[Record],
    master: MasterRecord,
    check: CheckResult,
    checksums: tuple[str, ...],
    decisions: Sequence[Decision] = (),
) -> Receipt:
    """The unsigned receipt of a title's master.

    Args:
        plan: of the title.
        profile: with which it was made.
        records: one a shard, in order.
        master: what was published.
        check: what the master's check saw.
        checksums: of the master's frames.
        decisions: of persons at the gate.
    """
    model = plan.model
    return Receipt(
        receipt=RECEIPT_VERSION,
        source=SourceLine(
            name=plan.title.name,
            blake2b=plan.fingerprint,
            size=plan.title.size,
            cadence=plan.reading.cadence,
            treatment=plan.reading.treatment,
            doubts=list(doubts(plan.title, plan.timeline)),
        ),
        model=ModelLine(
            name=_leaf(model.name),
            weights_hash=model.weights_hash,
            version=model.version,
            settings=dict(model.settings),
        ),
        profile=profile.model_dump(mode="json", exclude={"cost"}) | {"model": _leaf(profile.model)},
        shards=[_shard_line(plan, shard, record) for shard, record in zip(plan.shards, records, strict=True)],
        software=SoftwareLine(master=master.software, shards=_each_once([record.software for record in records])),
        master=MasterLine(
            name=plan.title.master,
            sha256=master.sha256,
            size=master.size,
            picture=master.picture,
            frames=master.frames,
            checksum=CHECKSUM,
            checksums=list(checksums),
        ),
        check=[f"{name}: {seen}" for name, ok, seen in check.lines if not ok],
        reviews=review_lines(decisions),
        signature="unsigned",
    )


def review_lines(decisions: Sequence[Decision]) -> list[ReviewLine]:
    """What persons decided, as a receipt says it."""
    return [
        ReviewLine(
            verdict=each.verdict,
            by=each.by,
            at=each.at,
            note=each.note,
            accepted=list(each.accepted),
            rejected=[list(shard) for shard in each.shards],
        )
        for each in decisions
    ]


def _shard_line(plan: Plan, shard: Shard, record: Record) -> ShardLine:
    line = ShardLine(
        start=shard.start, stop=shard.stop, key=shard.key, segment=record.sha256, rung=record.rung, made=record.made
    )
    revised = next((each for each in plan.revised if each.index == shard.index), None)
    if revised is None or not revised.revision.settings:
        return line
    settings = {name: _leaf(str(value)) if name == "model" else value for name, value in revised.revision.settings}
    otherwise = {
        "settings": settings,
        "weights_hash": revised.model.weights_hash,
        "reason": revised.revision.reason,
    }
    return line.model_copy(update=otherwise)


def publish_receipt(receipt: Receipt, output: Store, signer: Signer | None) -> str:
    """Write the receipt beside its master, signed if there is a key; returns its URI.

    A signed one that says the same is left: a run without the key must not take its signature away.
    """
    place = receipt_place(receipt.master.name)
    data = to_bytes(signed(receipt, signer) if signer else receipt)
    try:
        there = output.read(place)
    except (FileNotFoundError, StoreDamaged):
        there = b""
    if there != data and (signer or not _says_so_signed(there, receipt)):
        output.write(place, data)
    return output.uri(place)


def receipt_place(master: str) -> str:
    """Where the receipt of a master is, by the master's own path or URI."""
    return master + SUFFIX


def signed(receipt: Receipt, signer: Signer) -> Receipt:
    """The receipt with a signature."""
    proof = Signature(algorithm="ed25519", public_key=signer.public_key, value=signer.sign(_statement(receipt)))
    return receipt.model_copy(update={"signature": proof})


def require_signed(receipt: Receipt, key: str = "") -> None:
    """Prove a signature.

    Args:
        receipt: a signed one, or, if no `key` is asked for, one that says it is not.
        key: public key that must have signed it, as base64; empty: the one it names will do.

    Raises:
        ValueError: why it is not to be believed.
    """
    proof = receipt.signature
    if proof == "unsigned":
        if key:
            raise ValueError("is not signed")
        return
    if key and proof.public_key != key:
        raise ValueError(f"is signed by another key ({proof.public_key})")
    if not is_signed(_statement(receipt), proof.value, proof.public_key):
        raise ValueError("its signature does not belong to what it says")


def to_bytes(receipt: Receipt) -> bytes:
    """The file."""
    return sealed(_json(_plain(receipt)))


def from_bytes(data: bytes) -> Receipt:
    """A receipt from its file.

    Raises:
        ValueError: in what way it is damaged.
    """
    plain = json.loads(opened(data))
    if not is_sealed(data):
        raise ValueError("it has no seal")
    try:
        return Receipt.model_validate(plain)
    except ValidationError as error:
        raise ValueError(
            f"it is not a receipt of this version ({error.error_count()} members are not known)"
        ) from error


def _says_so_signed(data: bytes, receipt: Receipt) -> bool:
    try:
        there = from_bytes(data)
        require_signed(there)
    except ValueError:
        return False
    return there.signature != "unsigned" and _statement(there) == _statement(receipt)


def _statement(receipt: Receipt) -> bytes:
    """What is signed."""
    plain = _plain(receipt)
    del plain["signature"]
    return _json(plain)


def _plain(receipt: Receipt) -> dict[str, Any]:
    return receipt.model_dump(mode="json", exclude_defaults=True)


def _json(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, sort_keys=True, indent=1).encode()


def _leaf(model: str) -> str:
    return posixpath.basename(model.replace("\\", "/"))


def _each_once(versions: list[dict[str, str]]) -> list[dict[str, str]]:
    found = {content_key({"versions": each}): each for each in versions if each}
    return [found[key] for key in sorted(found)]
