"""Ed25519 signatures: keys from PEM, signing, and proving. Knows bytes, not what they say.

The library is imported only where there is something to sign or to prove.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# A file's path, or the PEM itself, as secrets reach containers either way.
VARIABLE = "REMASTER_SIGNING_KEY"
_MAKE = "Make one with `openssl genpkey -algorithm ed25519 -out key.pem`."


class Signer:
    """Signs with one private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> str:
        """The public key's 32 bytes as base64."""
        return _text(self._key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> str:
        """The signature as base64. The same bytes have the same signature every time."""
        return _text(self._key.sign(data))


def signer() -> Signer | None:
    """The one that the environment names, or None.

    Raises:
        UsageError: what it names is not an Ed25519 private key.
    """
    named = os.environ.get(VARIABLE, "")
    if not named:
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    inline = named.lstrip().startswith("-----BEGIN")
    # What is wrong with a key is told without any of it.
    label = VARIABLE if inline else f"{VARIABLE}={named}"
    try:
        key = load_pem_private_key(named.encode() if inline else _read(named, label), password=None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{label}: is not an unencrypted private key in PEM. {_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{label}: is a key of another kind than Ed25519. {_MAKE}")
    return Signer(key)


def read_public_key(path: str) -> str:
    """A public key from a PEM file, as base64 of its 32 bytes.

    Raises:
        UsageError: it is not an Ed25519 public key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    how = "Make it with `openssl pkey -in key.pem -pubout -out public.pem`."
    try:
        key = load_pem_public_key(_read(path, f"--key {path}"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"--key {path}: is not a public key in PEM. {how}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"--key {path}: is a key of another kind than Ed25519. {how}")
    return _text(key.public_bytes_raw())


def is_signed(data: bytes, signature: str, public_key: str) -> bool:
    """True if the signature is of these bytes and by that key; both are base64."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(signature, validate=True), data)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _read(path: str, label: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{label}: cannot be read ({error.strerror}). Check the path.") from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
