"""Files that prove themselves: each holds a hash of all else in it, so that one changed byte shows.

JSON        a last member: `sealed`, `opened`
pages       a comment at the end: `sealed_page`, `opened_page`
Parquet     an entry of its metadata: `sealed_table`, `opened_table`
all other   32 bytes before all else: `sealed_bytes`, `opened_bytes`

All but the last are read by any program as they are, and may have no seal, as older versions wrote them. Knows bytes,
not what a file says. A seal proves that nothing changed by accident; against intent it takes a signature.
"""

from __future__ import annotations

import hashlib
import json
import re

_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\Z')
# A seal whose own name was changed: nothing else that is sealed ends in a hash.
_NAMELESS = re.compile(rb'": "[0-9a-f]{64}"\n\}\Z')
_END = b"\n}"

_PAGE_SEAL = re.compile(rb"\n<!-- seal ([0-9a-f]{64}) -->\n\Z")
# One changed byte leaves one half of it.
_PAGE_HALVES = re.compile(rb"\n<!-- seal |[0-9a-f]{64} -->\n\Z")
_PAGE_SEAL_BYTES = len("\n<!-- seal  -->\n") + 64

# What a table is sealed by, once it has these as an entry of its metadata.
TABLE_SEAL = b"remaster.seal"
UNSEALED = b"sha256:" + b"0" * 64
# Between the two stand the kind and length of the second.
_TABLE_SEAL = re.compile(rb"remaster\.seal\x18Gsha256:([0-9a-f]{64})")
_TABLE_HALVES = re.compile(rb"remaster\.seal|\x18Gsha256:[0-9a-f]{64}")

_DIGEST = 32  # bytes of a SHA-256


def sealed(data: bytes) -> bytes:
    """A JSON object, written over several lines, with its seal."""
    assert data.endswith(_END)
    return data.removesuffix(_END) + b',\n "seal": "%s"\n}' % _hash(data)


def is_sealed(data: bytes) -> bool:
    """True if a JSON object speaks of a seal; one that an older version wrote does not.

    Raises:
        ValueError: it is no JSON object.
    """
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return "seal" in found


def opened(data: bytes) -> bytes:
    """The JSON object that was sealed; one without a seal passes.

    Raises:
        ValueError: it is not as it was sealed, or it is no JSON object.
    """
    match = _SEAL.search(data)
    if match is None:
        if is_sealed(data) or _NAMELESS.search(data):
            raise ValueError("its seal is damaged")
        return data
    plain = data[: match.start()] + _END
    _require(match[1], plain)
    return plain


def sealed_page(page: str) -> bytes:
    """An HTML page, or a part of one, with its seal."""
    data = page.encode()
    return data + b"\n<!-- seal %s -->\n" % _hash(data)


def opened_page(data: bytes) -> str:
    """The page that was sealed; one without a seal passes.

    Raises:
        ValueError: it is not as it was sealed.
    """
    match = _PAGE_SEAL.search(data)
    if match is None:
        if _PAGE_HALVES.search(data[-_PAGE_SEAL_BYTES:]):
            raise ValueError("its seal is damaged")
        return data.decode()
    plain = data[: match.start()]
    _require(match[1], plain)
    return plain.decode()


def sealed_table(data: bytes) -> bytes:
    """A Parquet file whose metadata says UNSEALED of TABLE_SEAL, with the hash of it all in that place."""
    place = data.rindex(UNSEALED) + UNSEALED.index(b"0" * 64)
    return data[:place] + _hash(data) + data[place + 64 :]


def is_sealed_table(data: bytes) -> bool:
    """True if a Parquet file speaks of a seal, damaged or not; one that an older version wrote does not."""
    return _TABLE_HALVES.search(data) is not None


def opened_table(data: bytes) -> bytes:
    """The same Parquet file, proven; one without a seal passes.

    Raises:
        ValueError: it is not as it was sealed.
    """
    # The last one: what rows say comes before it.
    match = _TABLE_SEAL.match(data, max(0, data.rfind(TABLE_SEAL)))
    if match is not None:
        _require(match[1], data[: match.start(1)] + b"0" * 64 + data[match.end(1) :])
    elif is_sealed_table(data):
        raise ValueError("its seal is damaged")
    return data


def sealed_bytes(data: bytes) -> bytes:
    """Bytes of any kind with their seal."""
    return hashlib.sha256(data).digest() + data


def opened_bytes(data: bytes) -> bytes:
    """The bytes that were sealed.

    Raises:
        ValueError: they are not what was sealed.
    """
    if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        raise ValueError("its bytes are not those that were sealed")
    return data[_DIGEST:]


def has_seal(data: bytes) -> bool:
    """True if a file of any of these kinds has a seal; not, whether it is the right one."""
    return (
        any(seal.search(data) for seal in (_SEAL, _PAGE_SEAL, _TABLE_SEAL))
        or hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST]
    )


def _require(seal: bytes, plain: bytes) -> None:
    if _hash(plain) != seal:
        raise ValueError("its bytes are not those that were sealed")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
