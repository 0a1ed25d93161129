"""JSON files that prove themselves: a last member holds the hash of all before it, so that one changed byte shows.

Knows bytes, not what a file says. A seal proves that nothing changed by accident; against intent it takes a signature.
"""

from __future__ import annotations

import hashlib
import json
import re

_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\Z')
# A seal whose own name was changed: nothing else that is sealed ends in a hash.
_NAMELESS = re.compile(rb'": "[0-9a-f]{64}"\n\}\Z')
_END = b"\n}"


def sealed(data: bytes) -> bytes:
    """A JSON object, written over several lines, with its seal."""
    assert data.endswith(_END)
    return data.removesuffix(_END) + b',\n "seal": "%s"\n}' % _hash(data)


def is_sealed(data: bytes) -> bool:
    """True if the file speaks of a seal; one that an older version wrote does not.

    Raises:
        ValueError: it is no JSON object.
    """
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return "seal" in found


def require_intact(data: bytes) -> None:
    """Prove that a file is what was sealed; one without a seal passes.

    Raises:
        ValueError: it is not, or it is no JSON object.
    """
    match = _SEAL.search(data)
    if match is None and (is_sealed(data) or _NAMELESS.search(data)):
        raise ValueError("its seal is damaged")
    if match and _hash(data[: match.start()] + _END) != match[1]:
        raise ValueError("its bytes are not those that were sealed")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
