"""Files on this machine: atomic replacement, write-once files, and what the errors of a disk mean.

Knows nothing of stores and keys. Folders reached through symbolic links are not listed; links to files are.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from tasks.errors import StoreError, StoreFull, UsageError
from tasks.store.digest import BLOCK, Digest, digest_of
from tasks.store.protocol import TEMPORARY, FileState
from tasks.store.scratch import temporary_name

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_UNUSABLE = _FORBIDDEN | {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
# What file systems without hard links answer (exFAT, SMB, many FUSE ones).
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system and the path in it."""
    return fsspec.filesystem("file"), uri


def stat(uri: str) -> tuple[int, str]:
    """Size in bytes and time of last change in nanoseconds."""
    with _reading(uri):
        found = Path(uri).stat()
    # Opening a named pipe would wait for a writer for ever.
    if not modes.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "Not a file", uri)
    return found.st_size, str(found.st_mtime_ns)


def last_change(uri: str) -> float:
    """Of content, name or permissions, by the file system's own note: a program that copies may set every other."""
    with _reading(uri):
        return Path(uri).stat().st_ctime


def stat_folder(uri: str, wanted: Callable[[str], bool]) -> dict[str, FileState]:
    """Size, time of last change in nanoseconds, and `last_change` of files right in a folder, by name."""
    found, astray = {}, ""
    with _reading(uri):
        try:
            with os.scandir(uri or "/") as listed:
                entries = [entry for entry in listed if wanted(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        for entry in entries:
            try:
                state = entry.stat()
            except FileNotFoundError:
                astray = entry.name if entry.is_symlink() else astray  # else it was removed meanwhile
                continue
            if modes.S_ISREG(state.st_mode):
                found[entry.name] = (state.st_size, str(state.st_mtime_ns), state.st_ctime)
    if astray:
        raise FileNotFoundError(errno.ENOENT, f"{astray} is a symbolic link that leads nowhere", uri)
    return found


def open_read(uri: str) -> BinaryIO:
    """The file, buffered."""
    stat(uri)
    with _reading(uri):
        return Path(uri).open("rb")


def read(uri: str) -> bytes:
    """The whole file."""
    with open_read(uri) as file, _reading(uri):
        return file.read()


def list_files(uri: str) -> list[str]:
    """Paths below a folder, relative to it, without temporaries."""
    with _reading(uri):
        return list(_walk(Path(uri), ""))


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        entries = os.scandir(folder / prefix)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name


def list_temporaries(uri: str) -> list[tuple[str, int, float]]:
    """Path, bytes and time of last change of what was on its way; a folder is as new as the newest file in it."""
    found = []
    with _reading(uri):
        for folder, folders, files in os.walk(uri):
            for name in [name for name in folders + files if name.startswith(TEMPORARY)]:
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # its process may just be done with it
                    states = [each.lstat() for each in (path, *path.rglob("*"))]
                    size = sum(state.st_size for state in states if modes.S_ISREG(state.st_mode))
                    changed = max(state.st_mtime for state in states)
                    found.append((str(path.relative_to(uri)), size, changed))
            folders[:] = [name for name in folders if not name.startswith(TEMPORARY)]
    return found


def delete(uri: str) -> None:
    """Remove a file that may not be there."""
    with _writing(uri), suppress(FileNotFoundError, NotADirectoryError):
        Path(uri).unlink()


def delete_temporary(uri: str) -> None:
    """Remove a temporary file, or a temporary folder with all that is in it."""
    with _writing(uri), suppress(FileNotFoundError):
        if Path(uri).is_dir() and not Path(uri).is_symlink():
            shutil.rmtree(uri)
        else:
            Path(uri).unlink()


def write(uri: str, data: bytes) -> None:
    """Make or replace a file; on disk for good when this returns."""
    path = Path(uri)
    with _writing(uri), _beside(path) as temporary:
        _write_through(temporary, data)
        temporary.replace(path)


def create(uri: str, data: bytes) -> bool:
    """Make a file unless it is there; True if this call made it.

    Without hard links the file is written in place: one call still wins, but others may see it half-written.
    """
    path = Path(uri)
    with _writing(uri), _beside(path) as temporary:
        _write_through(temporary, data)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_in_place(path, data)
    return True


def _create_in_place(path: Path, data: bytes) -> bool:
    try:
        _write_through(path, data)
    except FileExistsError:
        return False
    return True


def put_file(source: Path, uri: str, *, move: bool, digest: Digest | None, commit: Callable[[], None]) -> Digest:
    """Make or replace a file from another one, which is renamed if `move` and on the same file system."""
    path = Path(uri)
    with source.open("rb") as file, _writing(uri):
        if move:
            digest = digest or digest_of(file)
            os.fsync(file.fileno())
            commit()
            if _rename(source, path):
                return digest
            file.seek(0)
        with _beside(path) as temporary:
            digest = _copy(file, temporary)
            commit()
            temporary.replace(path)
        if move:
            source.unlink()
    return digest


def _rename(source: Path, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    _folder_to_disk(path)
    return True


def _copy(file: BinaryIO, target: Path) -> Digest:
    sha256, size = hashlib.sha256(), 0
    with target.open("xb") as copy:
        while block := file.read(BLOCK):
            sha256.update(block)
            size += copy.write(block)
        _to_disk(copy)
    return Digest(sha256.hexdigest(), size)


def check_writable(uri: str) -> None:
    """Make the folder, and a file in it that is removed again."""
    probe = f"{uri}/{temporary_name()}"
    try:
        write(probe, b"probe")
        delete(probe)
    except StoreFull:
        raise
    except StoreError as error:
        raise UsageError(f"{uri} cannot be written to: {error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder that is not there, and those above it."""
    with _writing(str(folder)):
        folder.mkdir(parents=True)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name for a temporary file in the folder of `path`, which is made. Nothing of that name is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / temporary_name()
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    _folder_to_disk(path)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        try:
            file.write(data)
            _to_disk(file)
        except BaseException:
            path.unlink()
            raise


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(path: Path) -> None:
    """A rename outlives a power cut once its folder is written; some network file systems refuse and need no asking."""
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri) from error
        if error.errno in _FORBIDDEN:
            raise UsageError(f"{uri} may not be read ({error.strerror}). Give this user the permission.") from error
        raise StoreError(f"{uri} could not be read ({error}).") from error


@contextmanager
def full_disk(uri: str) -> Iterator[None]:
    """Turn the end of a disk's space into StoreFull, and nothing else into anything."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StoreFull(
            f"No space left to write {uri} ({error.strerror}). Free some, or use a store elsewhere; "
            "what is done is kept, and running again goes on from there."
        ) from error


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    try:
        with full_disk(uri):
            yield
    except OSError as error:
        if error.errno in _UNUSABLE:
            raise UsageError(
                f"{uri} cannot be written ({error.strerror}). Give this user the permission, or use another place."
            ) from error
        raise StoreError(f"{uri} could not be written ({error}).") from error
