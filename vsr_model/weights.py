"""Where weights lie that the package does not bring: `REMASTER_WEIGHTS`, or a folder below the user's data folder.

`REMASTER_WEIGHTS` is a folder or `s3://bucket/prefix`. A file of a bucket is copied once a machine into the user's
cache folder, under the hash of its content, and used from there like any other.

Knows names and bytes. It knows neither what is in the files nor how a bucket is spoken to (`vsr_model.bucket`).
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import platformdirs
from filelock import FileLock

from vsr_model import bucket
from vsr_model.errors import WeightsError


def weights_place() -> str:
    """The folder, or `s3://bucket/prefix` without a slash at its end; it need not exist.

    Raises:
        WeightsError: `REMASTER_WEIGHTS` is neither.
    """
    named = os.environ.get("REMASTER_WEIGHTS") or str(Path(platformdirs.user_data_dir("remaster")) / "weights")
    if re.match(r"s3:|[A-Za-z][A-Za-z0-9+.-]*://", named) and not re.match(r"s3://[^/]", named):
        raise WeightsError(f"REMASTER_WEIGHTS={named}: weights are kept in a local folder or at s3://bucket/prefix")
    return named.rstrip("/") if is_remote(named) else named


def is_remote(place: str) -> bool:
    """True for a bucket, False for a folder."""
    return place.startswith(bucket.SCHEME)


def cache_folder() -> Path:
    """Where copies of a bucket's files lie; whatever is in it may be deleted at any time that nobody uses it."""
    return Path(platformdirs.user_cache_dir("remaster")) / "weights"


def read(name: str) -> bytes | None:
    """A small file below the weights' place; None if there is none.

    Raises:
        WeightsError: it cannot be read, or the bucket not be reached.
    """
    place = weights_place()
    if is_remote(place):
        return bucket.read(f"{place}/{name}")
    path = Path(place) / name
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error}). Give access, or import the weights again") from error


def local_file(name: str, sha256: str = "") -> Path | None:
    """A file below the weights' place, as one on this machine that can be mapped; None if there is none.

    Args:
        name: with `/` between its parts.
        sha256: of its content, if that is known: what comes from a bucket is held against it.

    Raises:
        WeightsError: the bucket cannot be reached, another content came, or there is no room for it.
    """
    place = weights_place()
    if is_remote(place):
        uri = f"{place}/{name}"
        key = sha256 or bucket.stamp(uri)
        return _copy(uri, key, sha256) if key else None
    path = Path(place) / name
    return path if path.is_file() else None


def sha256_of(path: Path) -> str:
    """The hash of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(uri: str, key: str, sha256: str) -> Path:
    """The copy under a key, made if this machine has none."""
    path = cache_folder() / key / uri.rpartition("/")[2]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A machine's workers start together, and each would fetch gigabytes.
        with FileLock(path.with_name(f"{path.name}.lock")):
            if not path.is_file():
                _fetch(uri, path, sha256)
    except OSError as error:
        raise WeightsError(
            f"{path}: the copy of {uri} cannot be written there ({error}). Make room or access; XDG_CACHE_HOME moves it"
        ) from error
    return path


def _fetch(uri: str, path: Path, sha256: str) -> None:
    """Copy an object to a path at which nothing is ever seen that is not whole and right."""
    part = path.with_name(f"{path.name}.part")  # a killed process's is overwritten: the lock is ours
    try:
        bucket.fetch(uri, part)
        if sha256 and sha256_of(part) != sha256:
            raise WeightsError(
                f"{uri}: {part.stat().st_size} bytes came whose hash is not the one in the manifest: torn or damaged,"
                " and thrown away. Run again; if it stays so, import these weights again"
            )
        # Its hash is not looked at again, so the name must not outlast a power cut that the content does not.
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
