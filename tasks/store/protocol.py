"""What a kind of storage has to offer, and how its URIs and its unfinished files begin.

A backend is a module of functions that take whole URIs (`tasks.store.local`, `tasks.store.s3`). It knows nothing of
stores, keys or what is in the files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    from tasks.store.digest import Digest

S3 = "s3://"

# First letters of every name that is not content: half-written files, scratch folders, probes.
TEMPORARY = ".remaster-tmp-"

# Of a file: `Contents.stat` and `Contents.last_change` together.
FileState = tuple[int, str, float]


class Contents(Protocol):
    """What one name stands for: a file, or several that are read as one. Errors as of `Backend`."""

    def stat(self, uri: str) -> tuple[int, str]:
        """Size in bytes, and a stamp that is another one after a change of content."""

    def last_change(self, uri: str) -> float:
        """When the storage itself last saw the file change, in seconds since the epoch."""

    def open_read(self, uri: str) -> BinaryIO:
        """A seekable file."""

    def put_file(
        self, source: Path, uri: str, *, move: bool, digest: Digest | None, commit: Callable[[], None]
    ) -> Digest:
        """Make or replace a file from a local one, which is gone afterwards if `move`; see `Store.put_file`."""


class Backend(Contents, Protocol):
    """One kind of storage. All functions raise StoreError or UsageError; those that read, also FileNotFoundError."""

    def filesystem(self, uri: str) -> tuple[Any, str]:
        """The fsspec file system and the path in it."""

    def stat_folder(self, uri: str, wanted: Callable[[str], bool]) -> dict[str, FileState]:
        """State of the files right in a folder whose names are wanted, by name; empty if there is no such folder.

        Raises FileNotFoundError for a symbolic link that leads nowhere: without it they would not be all.
        """

    def read(self, uri: str) -> bytes:
        """The whole file."""

    def list_files(self, uri: str) -> list[str]:
        """Paths below a folder, relative to it; without temporaries; empty if there is no such folder."""

    def list_temporaries(self, uri: str) -> list[tuple[str, int, float]]:
        """Path below a folder, bytes and time of last change of what is not content: files, and folders as one."""

    def delete(self, uri: str) -> None:
        """Remove a file that may not be there."""

    def delete_temporary(self, uri: str) -> None:
        """Remove what `list_temporaries` named, a folder with all that is in it."""

    def write(self, uri: str, data: bytes) -> None:
        """Make or replace a file. A reader sees the old bytes or the new ones."""

    def create(self, uri: str, data: bytes) -> bool:
        """Make a file unless it is there; True if this call made it."""

    def check_writable(self, uri: str) -> None:
        """Prove that files can be made and removed in a folder."""
