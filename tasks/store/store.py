"""The work root: segments, records and tables under keys, in a local folder or an S3 prefix.

A key is a relative POSIX path (`records/ab/cd.json`). Nothing half-written is ever seen under one. The store knows
neither what its files are for nor which of them belong together.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tasks.errors import UsageError
from tasks.store.backend import backend, is_remote
from tasks.store.contents import contents
from tasks.store.digest import Digest, digest_of
from tasks.store.local import full_disk, make_folder
from tasks.store.protocol import TEMPORARY, Backend
from tasks.store.scratch import sweep, sweep_below, temporary_name
from tasks.store.uri import join, normalise


@dataclass(frozen=True, slots=True)
class Temporary:
    """Something that is not content: its key, its bytes, and when it last changed, in seconds since the epoch."""

    key: str
    size: int
    changed: float


class Store:
    """Files below one root. Cheap to make, copy and pickle; any thread or process may use it at any time.

    Besides what each method names, all raise UsageError (no permission, wrong credentials, no such bucket, a key that
    is not below the root) and StoreError (the storage failed, and went on failing when asked again); those that write
    raise StoreFull when no space is left.
    """

    def __init__(self, root: str) -> None:
        """`root` is a local path, `file://` or `s3://`, and not looked up yet. Raises UsageError if it is neither."""
        self.root = normalise(root)

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.root == self.root

    def __hash__(self) -> int:
        return hash((Store, self.root))

    @property
    def _backend(self) -> Backend:
        return backend(self.root)

    def uri(self, key: str) -> str:
        """The normalised URI of a key."""
        return join(self.root, key)

    def check_writable(self) -> None:
        """Make the root if it is a folder, and prove that files can be made and removed in it."""
        self._backend.check_writable(self.root)

    def exists(self, key: str) -> bool:
        """True if there is a file under the key; a folder is not one."""
        try:
            self.size(key)
        except FileNotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """Size in bytes. Raises FileNotFoundError."""
        return contents(self.uri(key)).stat(self.uri(key))[0]

    def read(self, key: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        return self._backend.read(self.uri(key))

    def open(self, key: str) -> BinaryIO:
        """The file, seekable. Raises FileNotFoundError."""
        return contents(self.uri(key)).open_read(self.uri(key))

    def list(self, prefix: str = "") -> list[str]:
        """Keys of all files below the folder `prefix`, sorted by code point. Empty if there is no such folder."""
        folder = prefix.removesuffix("/")
        names = self._backend.list_files(self.uri(folder) if folder else self.root)
        return sorted(f"{folder}/{name}" if folder else name for name in names)

    def delete(self, key: str) -> None:
        """Remove the file, if it is there."""
        self._backend.delete(self.uri(key))

    def temporaries(self) -> tuple[Temporary, ...]:
        """What is on its way to the store just now, and what killed processes left of such."""
        return tuple(Temporary(*found) for found in self._backend.list_temporaries(self.root))

    def delete_temporary(self, key: str) -> None:
        """Remove a temporary file or folder, if it is there. Raises UsageError for the name of anything else."""
        if not key.rpartition("/")[2].startswith(TEMPORARY):
            raise UsageError(f"{self.uri(key)} is no temporary file.")
        self._backend.delete_temporary(self.uri(key))

    def write(self, key: str, data: bytes) -> None:
        """Make or replace a file at once: readers see all of the old bytes or all of the new."""
        self._backend.write(self.uri(key), data)

    def create(self, key: str, data: bytes) -> bool:
        """Make a file that is never replaced. True for the one call that makes it, False for all others."""
        return self._backend.create(self.uri(key), data)

    def put_file(
        self, source: str | Path, key: str, *, move: bool = False, digest: Digest | None = None,
        commit: Callable[[], None] = lambda: None,
    ) -> Digest:  # fmt: skip
        """Make or replace a file from a complete local one, at once, and return its digest.

        With `move` the local file is gone afterwards; made in `temporary_folder()` it is renamed, not copied. Raises
        FileNotFoundError if the local file is absent. When anything fails the key is as it was, and so is the file.
        `digest` is the file's, if the caller took it. `commit` is called right before the file appears, however long it
        took to bring the bytes there; it may raise to keep it from appearing. A key may also be a run of numbered files
        (`tasks.store.sequence`), as the source then is; each of them appears at once.
        """
        uri = self.uri(key)
        return contents(uri).put_file(Path(source), uri, move=move, digest=digest, commit=commit)

    def digest(self, key: str) -> Digest:
        """SHA-256 and size, from reading the whole file. Raises FileNotFoundError."""
        with self.open(key) as file:
            return digest_of(file)

    def matches(self, key: str, digest: Digest) -> bool:
        """True if the file is there and has this content. Reads it only if its size is right."""
        try:
            return self.size(key) == digest.size and self.digest(key) == digest
        except FileNotFoundError:
            return False

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A new local folder for files on their way to `put_file`, removed at the end with what is left in it.

        It is in the root of a local store, else in the system's folder for temporary files. One that a killed process
        leaves has a name beginning with `.remaster-tmp-`; `list` never shows what is in it, and `sweep` removes it. A
        full disk under it is StoreFull, whoever was writing.
        """
        parent = tempfile.gettempdir() if is_remote(self.root) else self.root
        folder = Path(parent) / temporary_name()
        make_folder(folder)
        try:
            with full_disk(str(folder)):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def temporary_store(self) -> Iterator[Store]:
        """A store in this one, as fast as it, that is removed at the end with what is in it; `list` never shows it.

        A killed process leaves it as it leaves a temporary folder, or, on a remote store, to `temporaries`.
        """
        if not is_remote(self.root):
            with self.temporary_folder() as folder:
                yield Store(str(folder))
            return
        name = temporary_name()
        try:
            yield Store(self.uri(name))
        finally:
            self.delete_temporary(name)

    def sweep(self, *folders: str) -> int:
        """Remove scratch folders and files that processes of this machine left when they were killed; returns how many.

        What a process that may be alive works in stays. Looks in the folder of `temporary_folder`, and right in the
        `folders` of a local root: a file that comes from another file system is brought to its own folder first.
        """
        if is_remote(self.root):
            return sweep(Path(tempfile.gettempdir()))
        return sum(sweep(folder) for folder in {Path(self.root), *(Path(self.root, folder) for folder in folders)})

    def sweep_below(self) -> int:
        """The same, and half-written files anywhere below a local root, which should hold nothing but the store."""
        return self.sweep() if is_remote(self.root) else sweep_below(Path(self.root))
