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


def digest_of(file: BinaryIO) -> Digest:
    """Digest of everything from the file's position to its end, which is where it is left."""
    sha256, size = hashlib.sha256(), 0
    while block := file.read(BLOCK):
        sha256.update(block)
        size += len(block)
    return Digest(sha256.hexdigest(), size)
