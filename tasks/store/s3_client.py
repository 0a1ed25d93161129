"""The connection to S3: one client a process, one place where failed requests are repeated, one kind of open file.

Built on s3fs, whose own repetitions and caches of listings are switched off. Knows nothing of how files are committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiobotocore.session import AioSession
from fsspec.asyn import sync, sync_wrapper
from fsspec.spec import AbstractBufferedFile
from s3fs import S3FileSystem

from tasks.errors import StoreDamaged, StoreError, StoreFull, UsageError
from tasks.store.protocol import S3
from tasks.store.s3_errors import ConditionFailed, Torn, Unreachable, explain, has_answer, no_bucket

T = TypeVar("T")
log = logging.getLogger(__name__)

# Attempts at a request, and the first pause between them in seconds. Pauses double, and at random shrink by up to half,
# so that workers that failed together do not come back together. All pauses together: 4 s at most.
TRIES = 5
PAUSE = 0.25

# Seconds until an attempt to connect is given up, a connection on which nothing comes, and the putting together of a
# multipart upload, in which servers take their time; and how many bytes a second a body must at least go out or come in
# with, as neither aiohttp nor botocore has a limit for a server that stops reading, or sends ever so little.
CONNECT = 3
SILENCE = 30
COMPLETION = 600
SLOWEST = 128 * 1024

# A video is read at its head, then at its tail (an index is often there), then onwards from some keyframe, now and then
# going back and forth between picture and sound that were muxed apart. So: blocks, of which several stay, and the next
# one is fetched while this one is decoded. A single window read ahead would be fetched anew at each turn.
BLOCK = 4 * 2**20
BLOCKS = 12

# Metadata of an object that holds its SHA-256: entity tags are hashes on some servers and for some objects only.
HASH = "sha256"

_SETTINGS = {
    "connect_timeout": CONNECT,
    "read_timeout": SILENCE,
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "total_max_attempts": 1},
    # Trailing checksums are refused by older servers.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}

_clients: dict[tuple[object, ...], Client] = {}
_lock = threading.Lock()


def client() -> Client:
    """This process's client for the AWS environment as it is now. Raises UsageError if that makes no sense.

    Safe from any thread. s3fs would make one for each thread, with its own connections.
    """
    environment = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    wanted = (os.getpid(), *environment)
    with _lock:
        if wanted not in _clients:
            _clients[wanted] = _connect()
        return _clients[wanted]


def _connect() -> Client:
    # botocore reads every other variable itself.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    session = AioSession()
    session.register("before-sign.s3", _send_at_once)
    made = Client(
        session=session,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs=_SETTINGS,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    try:
        made.connect()
    except Exception as error:
        explained = explain(error, "Connecting to S3")
        if explained is error:
            raise
        raise explained from error
    return made


def _send_at_once(request: Any, **_: Any) -> None:
    """Without this the client first asks for leave to send a body, and waits for it for ever."""
    del request.headers["Expect"]


def hash_of(data: bytes) -> str:
    """What is written on an object that is made in one request, beside its bytes."""
    return hashlib.sha256(data).hexdigest()


def written_hash(answer: dict[str, Any]) -> str:
    """What an object's writer said that its hash is; empty if nothing."""
    # Servers differ in the upper and lower case of metadata's names.
    named = {name.lower(): str(value) for name, value in answer.get("Metadata", {}).items()}
    return named.get(HASH, "")


class Client(S3FileSystem):  # type: ignore[misc]
    """s3fs with errors of ours and patience in one place. Its methods may be called from any thread."""

    retries = 1

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._answered = False

    def split_path(self, path: str) -> tuple[str, str, None]:
        """Bucket and key. Unlike s3fs's, it leaves `?versionId=` in names alone."""
        bucket, _, key = path.removeprefix(S3).partition("/")
        return bucket, key, None

    async def _call_s3(self, method: str, *parameters: dict[str, Any], **named: Any) -> Any:
        parent = super()._call_s3
        target = S3 + "/".join(filter(None, [named.get("Bucket"), named.get("Key") or named.get("Prefix")]))
        answer = COMPLETION if method == "complete_multipart_upload" else SILENCE
        limit = CONNECT + len(named.get("Body", b"")) / SLOWEST + answer
        return await self._patiently(
            lambda: asyncio.wait_for(parent(method, *parameters, **named), limit), f"{target} ({method})"
        )

    call_s3 = sync_wrapper(_call_s3)

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], doing: str) -> T:
        """What `attempt` returns, after as many attempts as it takes up to TRIES."""
        for tries in itertools.count(1):
            try:
                result = await attempt()
            except Exception as error:
                self._answered |= has_answer(error)
                explained = explain(error, doing)
                # What comes back unchanged is not the storage's doing, or has had its attempts further down.
                if explained is error:
                    raise
                if not isinstance(explained, StoreError) or isinstance(explained, StoreFull):
                    raise explained from error
                if tries == TRIES:
                    raise self._conclude(explained) from error
                log.info("attempt %d of %d failed: %s", tries, TRIES, explained)
                await asyncio.sleep(random.uniform(0.5, 1) * PAUSE * 2 ** (tries - 1))  # noqa: S311 (no secret)
            else:
                self._answered = True
                return result
        raise AssertionError("the loop above has no end")

    def _conclude(self, error: StoreError) -> Exception:
        """What to raise when the last attempt has failed."""
        # A server that this process has never reached is more likely misspelt than down.
        if isinstance(error, Unreachable) and not self._answered:
            return UsageError(str(error))
        tried = f"{error} So it was {TRIES} times."
        if isinstance(error, StoreDamaged):
            return StoreDamaged(f"{tried} Compare with a copy, or delete it and run again.")
        return StoreError(f"{tried} What is done is kept: see that the store is well, then run again.")

    async def _body(self, bucket: str, key: str, **parameters: Any) -> bytes:
        """An object's bytes, or a range of them."""

        async def attempt() -> bytes:
            answer = await self._call_s3("get_object", Bucket=bucket, Key=key, **parameters)
            # A server that sends a byte now and then is never silent.
            limit = SILENCE + answer.get("ContentLength", BLOCK) / SLOWEST
            async with answer["Body"] as body:
                data: bytes = await asyncio.wait_for(body.read(), limit)
            # Parts of an object cannot be held against the hash of the whole; their lengths are known to who asked.
            if "Range" not in parameters and written_hash(answer) not in ("", hash_of(data)):
                raise Torn
            return data

        return await self._patiently(attempt, f"{S3}{bucket}/{key} (reading)")

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        bucket, key, _version = self.split_path(self._strip_protocol(path))
        if start is None and end is None:
            return await self._body(bucket, key)
        return await self._body(bucket, key, Range=await self._process_limits(path, start, end))

    def head(self, bucket: str, key: str) -> dict[str, Any]:
        """What a server knows about an object. Raises FileNotFoundError, or UsageError if the bucket is absent."""
        try:
            answer: dict[str, Any] = self.call_s3("head_object", Bucket=bucket, Key=key)
            return answer
        except FileNotFoundError as error:
            self._require(bucket)
            raise FileNotFoundError(2, "No such object", f"{S3}{bucket}/{key}") from error

    def _require(self, bucket: str) -> None:
        try:
            self.call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError as error:
            raise no_bucket(bucket) from error
        except UsageError:
            # Who may read objects need not be allowed to ask about the bucket.
            return

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        bucket, key, _ = self.split_path(path)
        head = self.head(bucket, key)
        return _Reader(self, path, size=head["ContentLength"], etag=head.get("ETag"))


class _Reader(AbstractBufferedFile):  # type: ignore[misc]
    """An object open for reading. Every byte comes from the object that was there when it was opened."""

    def __init__(self, fs: Client, path: str, *, size: int, etag: str | None) -> None:
        super().__init__(
            fs,
            path,
            "rb",
            block_size=BLOCK,
            cache_type="background",
            cache_options={"maxblocks": BLOCKS},
            size=size,
        )
        self._condition = {"IfMatch": etag} if etag else {}

    def _fetch_range(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        if start >= end:
            return b""
        bucket, key, _ = self.fs.split_path(self.path)
        wanted = f"bytes={start}-{end - 1}"
        try:
            data: bytes = sync(self.fs.loop, self.fs._body, bucket, key, Range=wanted, **self._condition)
        except (ConditionFailed, FileNotFoundError) as error:
            raise StoreError(f"{S3}{bucket}/{key} was replaced or deleted while it was being read.") from error
        if len(data) != end - start:
            raise StoreError(f"{S3}{bucket}/{key}: {len(data)} bytes came for {wanted}.")
        return data
