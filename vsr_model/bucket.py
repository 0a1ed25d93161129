"""Objects of an S3 bucket, as far as weights need them: ask, read, fetch, send and remove.

The one module of the package that knows S3. Endpoint and credentials are those of the standard AWS environment or
profile, as for everything else here that is in a bucket. It knows nothing of weights nor of where copies are kept.

s3fs is imported when a bucket is first spoken to: whoever has weights in a folder need not wait for it.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vsr_model.errors import WeightsError, WeightsUnreachable

SCHEME = "s3://"

# Seconds for a question whose answer is small: a person may be waiting for a list of networks.
_PATIENCE = 10.0
# Parts of a file on their way at once, and bytes of each on its way here: what a transfer takes of memory.
_PARALLEL, _BLOCK = 4, 16 * 2**20
_SETTINGS = {
    "connect_timeout": 3,
    "read_timeout": 30,
    "retries": {"mode": "standard", "total_max_attempts": 3},
    # Trailing checksums are refused by older servers.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
# This machine's disk, not the bucket. s3fs's own errors carry none of these.
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG}
_PASSING = {408, 409, 425, 429}

_ENDPOINT = "Check AWS_ENDPOINT_URL (unset means Amazon's own) and AWS_REGION"
_KEYS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in AWS_PROFILE"


def read(uri: str) -> bytes | None:
    """A small object's bytes; None if there is no such object. Raises WeightsError."""
    with _explained(uri):
        return _unless_absent("_cat_file", uri)  # type: ignore[no-any-return]


def stamp(uri: str) -> str:
    """Hex digits that are others once the object is; empty if there is no such object. Raises WeightsError."""
    with _explained(uri):
        found = _unless_absent("_info", uri)
    return hashlib.blake2b(f"{uri} {found['ETag']} {found['size']}".encode()).hexdigest()[:64] if found else ""


def fetch(uri: str, path: Path) -> None:
    """Copy an object to a file. Raises WeightsError for the bucket, OSError for this machine's disk."""
    with _explained(uri):
        _connection().get_file(uri, str(path))


def send(path: Path, uri: str) -> None:
    """Make or replace an object from a file, at once: readers see the old one until all of the new one is there."""
    with _explained(uri):
        _connection().put_file(str(path), uri)


def write(uri: str, data: bytes) -> None:
    """Make or replace a small object, at once."""
    with _explained(uri):
        _connection().pipe_file(uri, data)


def remove(uri: str) -> None:
    """Remove an object that may not be there."""
    with _explained(uri):
        _connection().rm_file(uri)


def _unless_absent(method: str, uri: str) -> Any:
    """What a method of s3fs answers in good time; None if there is no such object."""
    from fsspec.asyn import sync

    connection = _connection()
    try:
        return sync(connection.loop, getattr(connection, method), uri, timeout=_PATIENCE)
    except FileNotFoundError as error:
        if _answer(error)[0] == "NoSuchBucket":
            raise
        return None


def _connection() -> Any:
    """The file system for the AWS environment as it is now."""
    return _connect(os.getpid(), tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@functools.cache
def _connect(process: int, environment: tuple[tuple[str, str], ...]) -> Any:
    import fsspec

    # botocore reads every other variable itself.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fsspec.filesystem(
        "s3",
        client_kwargs={"region_name": region} if region else {},
        config_kwargs=_SETTINGS,
        max_concurrency=_PARALLEL,
        default_block_size=_BLOCK,
        use_listings_cache=False,
        skip_instance_cache=True,
    )


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Whatever the bucket has against it becomes a `WeightsError` that says what to do."""
    try:
        yield
    except Exception as error:
        explained = _explain(error, uri)
        if explained is error:
            raise
        raise explained from error


def _explain(error: Exception, uri: str) -> Exception:
    import aiohttp
    from botocore import exceptions as boto

    code, status = _answer(error)
    said = f"{uri}: {type(error).__name__}: {error}".rstrip(" .")
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return error
    if code == "NoSuchBucket":
        return WeightsError(f"{uri}: there is no such bucket. Make it, or correct REMASTER_WEIGHTS. {_ENDPOINT}")
    if isinstance(error, PermissionError) or status in (401, 403):
        return WeightsError(f"{said}. The server refuses these credentials. {_KEYS}; an import also writes and deletes")
    if isinstance(error, FileNotFoundError):
        return WeightsError(f"{uri}: not there, though a manifest names it. Import these weights again")
    if 400 <= status < 500 and status not in _PASSING:
        return WeightsError(f"{said}. The server does not accept the request. {_ENDPOINT}")
    if isinstance(error, OSError | aiohttp.ClientError | boto.HTTPClientError | boto.ConnectionError):
        return WeightsUnreachable(f"{said}. The bucket cannot be reached. {_ENDPOINT}, and the network; then run again")
    if isinstance(error, boto.BotoCoreError):
        return WeightsError(f"{said}. {_KEYS}")
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return WeightsError(f"{said}. {_ENDPOINT}")
    return error


def _answer(error: BaseException) -> tuple[str, int]:
    """The server's code and HTTP status; s3fs keeps them one step down. Nothing and 0 if it did not answer."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return (
        str(response.get("Error", {}).get("Code", "")),
        int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
    )
