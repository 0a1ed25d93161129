"""Objects on S3: conditional writes, uploads that leave nothing behind when they fail, and lists.

Knows nothing of stores and keys, nor how requests are repeated (`tasks.store.s3_client`). A process that is killed
cannot end its multipart uploads; the next one to the same key does. For keys that nobody writes again a bucket should
have a lifecycle rule that ends unfinished uploads.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tasks.errors import RemasterError, StoreError
from tasks.store.digest import Digest
from tasks.store.protocol import S3, TEMPORARY, FileState
from tasks.store.s3_client import HASH, Client, client, hash_of
from tasks.store.s3_errors import ConditionFailed

log = logging.getLogger(__name__)

# Bytes of one part of an upload (S3 wants 5 MiB to 5 GiB, and 10,000 parts at most) and how many are on their way at
# once. Parts are copied on their way out, so that an upload takes up to 2 * PARALLEL + 1 of them in memory: 72 MiB, and
# more only for files beyond 78 GiB.
PART = 8 * 2**20
MOST_PARTS = 10_000
PARALLEL = 4


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system and the path in it."""
    return client(), uri.removeprefix(S3)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix(S3).partition("/")
    return bucket, key


def stat(uri: str) -> tuple[int, str]:
    """Size in bytes, and the entity tag with the time of the last change."""
    bucket, key = _split(uri)
    if not key:
        raise FileNotFoundError(uri)  # a bucket is a folder
    head = client().head(bucket, key)
    return head["ContentLength"], f"{head.get('ETag', '')} {head['LastModified'].isoformat()}"


def last_change(uri: str) -> float:
    """When the object appeared, by the server's clock: each is written as a whole, and only ever replaced."""
    bucket, key = _split(uri)
    if not key:
        raise FileNotFoundError(uri)
    return float(client().head(bucket, key)["LastModified"].timestamp())


def stat_folder(uri: str, wanted: Callable[[str], bool]) -> dict[str, FileState]:
    """Size, entity tag with time of last change, and `last_change` of objects right below a prefix, by name."""
    try:
        listed = client().ls(uri, detail=True)
    except FileNotFoundError:
        return {}
    found = {}
    for entry in listed:
        name, changed = entry["name"].rpartition("/")[2], entry.get("LastModified")
        if entry["type"] == "file" and name and wanted(name):
            found[name] = (int(entry["size"]), f"{entry['ETag']} {changed.isoformat()}", float(changed.timestamp()))
    return found


def open_read(uri: str) -> BinaryIO:
    """The object, fetched in ranges as they are read."""
    file: BinaryIO = client().open(uri, "rb")
    return file


def read(uri: str) -> bytes:
    """The whole object."""
    data: bytes = client().cat_file(uri)
    return data


def list_files(uri: str) -> list[str]:
    """Keys below a prefix, relative to it, without temporaries."""
    prefix = uri.removeprefix(S3) + "/"
    names = (name.removeprefix(prefix) for name in client().find(uri) if name.startswith(prefix))
    # Tools that show folders make empty objects whose keys end in a slash.
    return [name for name in names if not name.endswith("/") and f"/{TEMPORARY}" not in f"/{name}"]


def list_temporaries(uri: str) -> list[tuple[str, int, float]]:
    """Key, bytes and time of last change of what killed processes left: probes, and all below such a prefix as one."""
    prefix = uri.removeprefix(S3) + "/"
    found: dict[str, tuple[int, float]] = {}
    for name, entry in client().find(uri, detail=True).items():
        parts = name.removeprefix(prefix).split("/") if name.startswith(prefix) else []
        depth = next((depth for depth, part in enumerate(parts, 1) if part.startswith(TEMPORARY)), 0)
        if depth:
            key = "/".join(parts[:depth])
            size, changed = found.get(key, (0, 0.0))
            found[key] = size + int(entry["size"]), max(changed, entry["LastModified"].timestamp())
    return [(key, size, changed) for key, (size, changed) in found.items()]


def delete(uri: str) -> None:
    """Remove an object that may not be there."""
    bucket, key = _split(uri)
    client().call_s3("delete_object", Bucket=bucket, Key=key)


def delete_temporary(uri: str) -> None:
    """Remove a probe that may not be there, or all below a prefix."""
    delete(uri)
    for name in list_files(uri):
        delete(f"{uri}/{name}")


def write(uri: str, data: bytes) -> None:
    """Make or replace an object, in one request."""
    bucket, key = _split(uri)
    written = {HASH: hash_of(data)}
    client().call_s3("put_object", Bucket=bucket, Key=key, Body=data, ContentMD5=_md5(data), Metadata=written)


def create(uri: str, data: bytes) -> bool:
    """Make an object unless it is there; True if this call made it.

    On a server that ignores If-None-Match, one that is there is still not replaced, but of two calls at the same moment
    both may answer True; the later one's bytes stay.
    """
    fs, (bucket, key) = client(), _split(uri)
    if _find(fs, bucket, key):
        return False
    # An answer can get lost after the object was made, and the repeated request then be refused. And a server may
    # ignore the condition. So what counts is whose object is there, which is written on it.
    writer = uuid.uuid4().hex
    written = {"writer": writer, HASH: hash_of(data)}
    request = {"Bucket": bucket, "Key": key, "Body": data, "ContentMD5": _md5(data), "Metadata": written}
    with suppress(ConditionFailed):
        fs.call_s3("put_object", IfNoneMatch="*", **request)
    return _is_by(_find(fs, bucket, key), writer)


def _find(fs: Client, bucket: str, key: str) -> dict[str, Any] | None:
    try:
        return fs.head(bucket, key)
    except FileNotFoundError:
        return None


def _is_by(head: dict[str, Any] | None, writer: str) -> bool:
    # Servers differ in the upper and lower case of metadata's names.
    return head is not None and writer in head.get("Metadata", {}).values()


def put_file(source: Path, uri: str, *, move: bool, digest: Digest | None, commit: Callable[[], None]) -> Digest:
    """Make or replace an object from a local file, which is removed afterwards if `move`.

    The server checks each part against its MD5, and the size of the whole is checked at the end. A digest that is known
    saves nothing here: all bytes pass by anyway.
    """
    fs, (bucket, key) = client(), _split(uri)
    with source.open("rb") as file:
        size = source.stat().st_size
        if size <= PART:
            data = file.read()
            commit()
            write(uri, data)
            digest = Digest(hashlib.sha256(data).hexdigest(), len(data))
        else:
            digest = _upload(fs, bucket, key, file, max(PART, -(-size // MOST_PARTS)), commit)
    arrived = fs.head(bucket, key)["ContentLength"]
    if arrived != digest.size:
        raise StoreError(f"{uri}: {digest.size} bytes were sent, and {arrived} are there.")
    if move:
        source.unlink()
    return digest


def _upload(fs: Client, bucket: str, key: str, file: BinaryIO, part_size: int, commit: Callable[[], None]) -> Digest:
    writer = uuid.uuid4().hex
    place = {"Bucket": bucket, "Key": key}
    upload = fs.call_s3("create_multipart_upload", **place, Metadata={"writer": writer})
    place["UploadId"] = upload["UploadId"]
    sha256, size = hashlib.sha256(), 0
    parts: list[dict[str, Any]] = []
    try:
        with ThreadPoolExecutor(PARALLEL, "upload") as pool:
            on_their_way: deque[Future[dict[str, Any]]] = deque()
            for number, block in enumerate(_blocks(file, part_size), 1):
                sha256.update(block)
                size += len(block)
                if len(on_their_way) == PARALLEL:
                    parts.append(on_their_way.popleft().result())
                on_their_way.append(pool.submit(_send_part, fs, place, number, block))
            parts.extend(part.result() for part in on_their_way)
        commit()
        _complete(fs, place, parts, writer)
    # Also when the user or the scheduler interrupts: parts of an upload cost money and no list of files shows them.
    except BaseException:
        _abort(fs, place)
        raise
    _abort_others(fs, bucket, key)
    return Digest(sha256.hexdigest(), size)


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while block := file.read(size):
        yield block


def _send_part(fs: Client, place: dict[str, str], number: int, block: bytes) -> dict[str, Any]:
    answer = fs.call_s3("upload_part", **place, PartNumber=number, Body=block, ContentMD5=_md5(block))
    return {"PartNumber": number, "ETag": answer["ETag"]}


def _complete(fs: Client, place: dict[str, str], parts: list[dict[str, Any]], writer: str) -> None:
    try:
        fs.call_s3("complete_multipart_upload", **place, MultipartUpload={"Parts": parts})
    except FileNotFoundError as error:
        # The upload is gone: completed by a request whose answer got lost, or ended by somebody else.
        if not _is_by(_find(fs, place["Bucket"], place["Key"]), writer):
            raise StoreError(f"{S3}{place['Bucket']}/{place['Key']}: the upload was ended by somebody else.") from error


def _abort_others(fs: Client, bucket: str, key: str) -> None:
    """End what else was on its way to a key that is made now.

    That is what killed processes left, and uploads that were begun without our hearing of it. Somebody who is still at
    it begins again, which costs time only.
    """
    try:
        listed = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
    except RemasterError as error:
        log.warning("unfinished uploads to %s%s/%s may stay behind: %s", S3, bucket, key, error)
        return
    for upload in listed.get("Uploads", []):
        if upload["Key"] == key:
            _abort(fs, {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"]})


def _abort(fs: Client, place: dict[str, str]) -> None:
    try:
        fs.call_s3("abort_multipart_upload", **place)
    except FileNotFoundError:
        pass
    except RemasterError as error:
        log.warning("an unfinished upload to %s%s/%s stays behind: %s", S3, place["Bucket"], place["Key"], error)


def check_writable(uri: str) -> None:
    """Make an object below the prefix, and remove it again."""
    probe = f"{uri}/{TEMPORARY}{uuid.uuid4().hex}"
    write(probe, b"probe")
    delete(probe)


def _md5(data: bytes) -> str:
    """What Content-MD5 wants; a server refuses a body that does not match it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
