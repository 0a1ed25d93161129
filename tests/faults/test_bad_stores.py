"""A store that fails on the wire: what passes is got over, what lasts ends clearly, and nothing wrong is ever there.

A real S3 server behind a proxy (`tests.faults.proxy`) on which requests are refused, torn, truncated, lost, slow or
answered with what is not true. Everything that counts as written is read back past the proxy and held against its hash.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.errors import StoreDamaged, StoreError, UsageError
from tasks.store import Store, digest_of, lease, s3_client
from tasks.store.s3 import PART
from tasks.store.s3_client import PAUSE, TRIES
from tests.faults import proxy as wire
from tests.faults.proxy import Fault, Proxy, every, first, in_front_of, refuse
from tests.s3 import S3Place, use

SMALL = b'{"frames": 24}\n' * 100
BIG = 2 * PART + 12345
WRITES = ("put", "create", "begin", "part", "complete")
READS = ("get", "head", "list")


@dataclass(frozen=True)
class BadStore:
    """A store behind a proxy, and the server past it."""

    store: Store
    proxy: Proxy
    s3: S3Place

    def there(self) -> dict[str, bytes]:
        """What really lies on the server, by key."""
        server = self.s3.server.boto()
        listed = server.list_objects_v2(Bucket=self.s3.server.bucket, Prefix=self.s3.prefix + "/")
        return {
            entry["Key"].removeprefix(self.s3.prefix + "/"): server.get_object(
                Bucket=self.s3.server.bucket, Key=entry["Key"]
            )["Body"].read()
            for entry in listed.get("Contents", [])
        }

    def unfinished(self) -> list[str]:
        """Keys of uploads that were begun and neither completed nor aborted."""
        listed = self.s3.server.boto().list_multipart_uploads(Bucket=self.s3.server.bucket)
        return [upload["Key"] for upload in listed.get("Uploads", []) if upload["Key"].startswith(self.s3.prefix)]


@pytest.fixture
def bad(s3: S3Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadStore]:
    with in_front_of(s3.server.endpoint) as proxy:
        use(s3.server.env | {"AWS_ENDPOINT_URL": proxy.endpoint}, monkeypatch)
        yield BadStore(Store(s3.root), proxy, s3)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts, where a test makes all of them fail."""
    monkeypatch.setattr(s3_client, "PAUSE", 0)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of three parts."""
    path = tmp_path_factory.mktemp("big") / "segment.mkv"
    path.write_bytes(os.urandom(BIG))
    return path


def write_all(store: Store, big: Path) -> dict[str, bytes]:
    """Each kind of write once; returns what must be there then."""
    store.write("run.json", SMALL)
    assert store.create("record.json", SMALL[::-1])
    digest = store.put_file(big, "segment.mkv")
    assert digest.sha256 == hashlib.sha256(big.read_bytes()).hexdigest()
    return {"run.json": SMALL, "record.json": SMALL[::-1], "segment.mkv": big.read_bytes()}


PASSING: list[tuple[str, Fault, tuple[str, ...]]] = [
    ("500", refuse(500, "InternalError"), WRITES + READS),
    ("503", refuse(503, "SlowDown"), WRITES + READS),
    ("reset in a body", wire.reset_in_body, WRITES + READS),
    ("lost answer", wire.lost_answer, (*WRITES, "get")),
    ("broken answer", wire.broken_answer, ("get", "list", "begin", "complete")),
    ("truncated answer", wire.truncated, ("get",)),
    ("flipped bit", wire.flipped, ("get",)),
    ("torn put", wire.torn_put, ("put", "create", "part")),
    ("conflict", refuse(409, "ConditionalRequestConflict"), ("create", "complete")),
    ("slow", wire.slow(0.2), WRITES + READS),
]


@pytest.mark.parametrize(("fault", "operations"), [pytest.param(f, o, id=name) for name, f, o in PASSING])
def test_what_passes_is_got_over_and_every_byte_is_right(
    bad: BadStore, big: Path, quick: None, fault: Fault, operations: tuple[str, ...]
) -> None:
    meets = {operation: first(2, fault, operation) for operation in operations}
    bad.proxy.rule = lambda exchange: meets.get(exchange.operation, lambda _: None)(exchange)
    wanted = write_all(bad.store, big)
    if fault in (wire.truncated, wire.flipped):
        wanted.pop("segment.mkv")  # fetched in ranges: see below
    assert {key: bad.store.read(key) for key in wanted} == wanted
    assert bad.store.list() == sorted({**wanted, "segment.mkv": b""})
    there = bad.there()
    assert {key: there[key] for key in wanted} == wanted
    assert bad.unfinished() == []
    assert {seen.operation for seen in bad.proxy.faults()} == set(operations)


def test_a_truncated_range_of_a_segment_is_no_answer(bad: BadStore, big: Path) -> None:
    write_all(bad.store, big)
    bad.proxy.rule = every(wire.truncated, "get")
    with (
        pytest.raises(StoreError, match=r"segment\.mkv: \d+ bytes came for bytes="),
        bad.store.open("segment.mkv") as f,
    ):
        f.read()


def test_a_flipped_bit_in_a_segment_is_a_miss(bad: BadStore, big: Path) -> None:
    write_all(bad.store, big)
    digest = bad.store.digest("segment.mkv")
    bad.proxy.rule = every(wire.flipped, "get")
    assert not bad.store.matches("segment.mkv", digest)


@pytest.mark.parametrize(
    "fault", [refuse(412, "PreconditionFailed"), refuse(409, "ConditionalRequestConflict")], ids=["412", "409"]
)
def test_a_conditional_write_that_is_refused_made_nothing(bad: BadStore, quick: None, fault: Fault) -> None:
    """412 although nothing is there: the object is not ours, so it is not said to be."""
    bad.proxy.rule = every(fault, "create")
    try:
        assert not bad.store.create("record.json", SMALL)
    except StoreError as error:
        assert "ConditionalRequestConflict" in str(error)  # noqa: PT017
    assert bad.there() == {}


def test_of_many_that_create_while_answers_get_lost_one_wins(bad: BadStore, quick: None) -> None:
    bad.proxy.rule = wire.sometimes(1, 0.5, {"create": [wire.lost_answer, refuse(503, "SlowDown")]})
    together = threading.Barrier(8)

    def race(number: int) -> bool:
        together.wait()
        try:
            return bad.store.create("record.json", b"%d" % number)
        except StoreError:
            return False

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, created in enumerate(pool.map(race, range(8))) if created]
    assert bad.there() == {"record.json": b"%d" % won[0]}
    assert len(won) == 1


LASTING: list[tuple[str, Fault, str]] = [
    ("500", refuse(500, "InternalError"), r"InternalError.*5 times.*What is done is kept.*run again"),
    ("503", refuse(503, "SlowDown"), r"SlowDown.*5 times.*run again"),
    ("reset in a body", wire.reset_in_body, r"the connection failed.*5 times.*run again"),
    ("torn put", wire.torn_put, r"the connection failed.*5 times.*run again"),
    ("expired credentials", refuse(400, "ExpiredToken"), r"have expired\. Log in again"),
    ("clock skew", refuse(403, "RequestTimeTooSkewed"), r"This machine's clock is wrong\. Set it"),
    ("denied", refuse(403, "AccessDenied"), r"not allowed.*Grant them"),
    ("full", refuse(507, "InsufficientStorage"), r"No space left there\. Free some"),
]


@pytest.mark.parametrize(("fault", "said"), [pytest.param(f, s, id=name) for name, f, s in LASTING])
@pytest.mark.parametrize(
    "operation", [pytest.param(o, marks=[] if o == "create" else [pytest.mark.faults]) for o in WRITES]
)
def test_what_lasts_ends_with_what_to_do_and_leaves_nothing(
    bad: BadStore, big: Path, quick: None, operation: str, fault: Fault, said: str
) -> None:
    if fault is wire.torn_put and operation in ("begin", "complete"):
        pytest.skip("requests without a body to tear")
    write = {
        "put": lambda: bad.store.write("film", SMALL),
        "create": lambda: bad.store.create("film", SMALL),
    }.get(operation, lambda: bad.store.put_file(big, "film", move=True))
    bad.proxy.rule = every(fault, operation)
    with pytest.raises((StoreError, UsageError), match=rf"(?s)s3://.*/film \(\w+\): .*{said}"):
        write()
    assert bad.there() == {}
    assert bad.unfinished() == []
    assert big.exists()
    assert len(bad.proxy.faults()) <= 4 * 2 * TRIES, "four parts at once, and aiohttp connects once more by itself"


def test_a_wrong_entity_tag_never_completes_an_upload(bad: BadStore, big: Path, quick: None) -> None:
    bad.proxy.rule = first(1, wire.wrong_etag, "part")
    with pytest.raises(StoreError, match=r"film.*InvalidPart"):
        bad.store.put_file(big, "film")
    assert (bad.there(), bad.unfinished()) == ({}, [])
    bad.store.put_file(big, "film")
    assert bad.there() == {"film": big.read_bytes()}


def test_a_wrong_entity_tag_is_not_mistaken_for_content(bad: BadStore, big: Path) -> None:
    bad.proxy.rule = every(wire.wrong_etag, "put", "create", "get", "head", "complete")
    wanted = write_all(bad.store, big)
    assert bad.store.read("run.json") == SMALL
    with pytest.raises(StoreError, match="was replaced or deleted while"), bad.store.open("segment.mkv") as file:
        file.read()
    assert bad.there() == wanted


def test_what_arrives_other_than_it_was_written_is_an_error_that_names_it(bad: BadStore, quick: None) -> None:
    bad.store.write("fingerprints/a", SMALL)
    for fault in (wire.truncated, wire.flipped):
        bad.proxy.rule = every(fault, "get")
        with pytest.raises(StoreDamaged, match=r"fingerprints/a.*other bytes came.*5 times.*delete it and run again"):
            bad.store.read("fingerprints/a")
    bad.proxy.rule = first(1, wire.truncated, "get")
    assert bad.store.read("fingerprints/a") == SMALL


def test_a_clock_that_is_wrong_is_what_the_server_says_it_is(
    bad: BadStore, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real server's own answer to requests that are signed an hour late."""
    late = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: late)
    with pytest.raises(UsageError, match=r"This machine's clock is wrong\. Set it"):
        bad.store.write("film", SMALL)
    monkeypatch.undo()
    assert bad.there() == {}


def test_attempts_wait_longer_each_time_and_not_all_alike(bad: BadStore) -> None:
    bad.proxy.rule = every(refuse(503, "SlowDown"), "put")
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(bad.store.write, f"film-{number}", SMALL)
    attempts = defaultdict(list)
    for seen in bad.proxy.seen:
        attempts[seen.key].append(seen.time)
    assert {len(times) for times in attempts.values()} == {TRIES}
    pauses = [[after - before for before, after in pairwise(times)] for times in attempts.values()]
    for number, alike in enumerate(zip(*pauses, strict=True)):
        assert min(alike) >= 0.5 * PAUSE * 2**number
    last = [each[-1] for each in pauses]
    assert max(last) - min(last) > 0.1 * PAUSE * 2 ** (TRIES - 2), "they do not come back together"


def test_a_list_that_lags_misses_and_never_lies(bad: BadStore) -> None:
    """Nothing that is decided once hangs on a list: records and leases are asked for by name."""
    bad.proxy.rule = wire.LaggingList(1.0)
    for number in range(5):
        assert bad.store.create(f"records/{number}", b"%d" % number)
        assert not bad.store.create(f"records/{number}", b"again")
    assert set(bad.store.list("records")) < {f"records/{number}" for number in range(5)}
    assert [bad.store.read(f"records/{number}") for number in range(5)] == [b"%d" % number for number in range(5)]
    held = lease.claim(bad.store, "shard", 60)
    assert held is not None and lease.claim(bad.store, "shard", 60) is None
    with held:
        held.confirm()
    time.sleep(1.1)
    assert bad.store.list("records") == [f"records/{number}" for number in range(5)]


def test_an_upload_that_a_killed_process_left_is_ended_by_who_makes_it_again(bad: BadStore, big: Path) -> None:
    server, place = bad.s3.server.boto(), {"Bucket": bad.s3.server.bucket, "Key": f"{bad.s3.prefix}/film"}
    for _ in range(2):
        upload = server.create_multipart_upload(**place)
        server.upload_part(**place, UploadId=upload["UploadId"], PartNumber=1, Body=bytes(PART))
    server.create_multipart_upload(**place | {"Key": f"{bad.s3.prefix}/film-of-another"})
    bad.store.put_file(big, "film")
    assert bad.unfinished() == [f"{bad.s3.prefix}/film-of-another"]
    assert bad.there() == {"film": big.read_bytes()}


ROUNDS = int(os.environ.get("REMASTER_FAULT_ROUNDS", "20"))
MIXED: dict[str, list[Fault]] = {
    operation: [fault for _, fault, operations in PASSING if operation in operations] for operation in WRITES + READS
}


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=[pytest.mark.faults] if n else []) for n in range(max(1, ROUNDS))]
)
def test_on_a_store_where_a_third_of_all_goes_wrong_what_succeeds_is_right(
    bad: BadStore, big: Path, quick: None, seed: int
) -> None:
    """Operations at random under faults at random: each either is done, to the byte, or says that it is not."""
    chance = random.Random(seed)
    bad.proxy.rule = wire.sometimes(seed, 0.33, MIXED)
    wanted: dict[str, set[bytes | None]] = {}
    digest = digest_of(io.BytesIO(big.read_bytes()))
    for number in range(20):
        kind = chance.choice(["write", "create", "read", "put", "match"])
        key = "big" if kind in ("put", "match") else chance.choice("ab")
        data = b"%d" % number * chance.randrange(1, 4000)
        before = wanted.get(key, {None})
        try:
            if kind == "write":
                wanted[key] = before | {data}
                bad.store.write(key, data)
                wanted[key] = {data}
            elif kind == "create":
                wanted[key] = before | {data}
                wanted[key] = {data} if bad.store.create(key, data) else before - {None}
            elif kind == "put":
                wanted[key] = before | {big.read_bytes()}
                bad.store.put_file(big, key)
                wanted[key] = {big.read_bytes()}
            elif kind == "match":
                assert big.read_bytes() in before or not bad.store.matches(key, digest)
            else:
                assert bad.store.read(key) in before
        except FileNotFoundError:
            assert None in before
        except StoreError:
            continue
    there = bad.there()
    for key, possible in wanted.items():
        assert there.get(key) in possible, key
    bad.proxy.rule = lambda exchange: None
    bad.store.put_file(big, "big")
    assert bad.unfinished() == []
