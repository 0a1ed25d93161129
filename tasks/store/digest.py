"""What a file's bytes come down to. Knows nothing of where the file is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

# Bytes read at a time.
BLOCK = 2 * 2**20


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's content in short: SHA-256 as 64 hex digits, and its size in bytes."""

    sha256: str
    size: int


class Passing:
    """A file that is read once, from where it is to its end, and digested as it passes: there is no way back in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha256, self._size = file, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        """Up to so many bytes more; none at the end."""
        block = self._file.read(size)
        self._sha256.update(block)
        self._size += len(block)
        return block

    def digest(self) -> Digest:
        """Of all of it; what was not asked for is read now."""
        while self.read(BLOCK):
            pass
        return Digest(self._sha256.hexdigest(), self._size)


def digest_of(file: BinaryIO) -> Digest:
    """Digest of everything from the file's position to its end, which is where it is left."""
    return Passing(file).digest()
