"""Names of files and folders: `/a/path` for local ones, `s3://bucket/key` for objects.

A normalised name is a plain string that people can paste back: nothing is percent-encoded, links are not followed, and
any character but NUL may be in it. Whether there is something of that name is not known here.
"""

from __future__ import annotations

import os
import re
from typing import Any, BinaryIO
from urllib.parse import unquote

from tasks.errors import UsageError
from tasks.store.backend import backend, is_remote
from tasks.store.contents import contents
from tasks.store.protocol import S3

__all__ = ["filesystem", "is_remote", "join", "normalise", "open_read"]

_KNOWN = "Use a local path, file:///path or s3://bucket/prefix."


def normalise(name: str | os.PathLike[str]) -> str:
    """One spelling for each place: an absolute local path, or `s3://bucket/prefix` without a trailing slash.

    `file://` URIs may have percent-escapes; local paths and `s3://` are taken letter by letter. Raises UsageError for
    other schemes and for names that cannot be anywhere.
    """
    text = os.fspath(name)
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is not the name of a file or folder. {_KNOWN}")
    scheme, rest = _split_scheme(text)
    if scheme and "@" in rest.partition("/")[0]:
        # Not repeated here: what stands before it is a secret.
        raise UsageError(
            f"a {scheme}:// name must not hold a key or a password, as names are written to logs and records. Those of"
            " S3 belong in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or in a profile (AWS_PROFILE)."
        )
    if scheme == "s3":
        bucket, slash, key = rest.partition("/")
        if not bucket:
            raise UsageError(f"{text!r} names no bucket. {_KNOWN}")
        return f"{S3}{bucket}{slash}{key}".rstrip("/")
    if scheme == "file":
        rest = _local_part(text, rest)
    elif scheme:
        raise UsageError(f"{text!r} is on a kind of storage that is not handled ({scheme}://). {_KNOWN}")
    # Not Path.resolve, which would follow links. POSIX gives a path with exactly two leading slashes a meaning of its
    # own; Linux and people do not.
    return "/" + os.path.abspath(rest).lstrip("/")  # noqa: PTH100


def _split_scheme(text: str) -> tuple[str, str]:
    if re.match(r"s3:/[^/]", text):
        raise UsageError(f"{text!r} has lost a slash, as s3:// URIs do in pathlib.Path. Pass it as a string.")
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return (match[1].lower(), text[match.end() :]) if match else ("", text)


def _local_part(text: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise UsageError(f"{text!r} is a file on another machine, or lacks a slash: file:///path has three.")
    path = slash + unquote(path, errors="surrogateescape")
    if "\0" in path:
        raise UsageError(f"{text!r} has a NUL character in it, which no file name can.")
    return path


def join(root: str, *parts: str) -> str:
    """The name of something below a normalised root. Each part is a relative path of one or more components.

    Raises UsageError for what would not be below the root everywhere: absolute parts, `.`, `..`, empty components, NUL.
    """
    for part in parts:
        if "\0" in part or any(component in ("", ".", "..") for component in part.split("/")):
            raise UsageError(
                f"{part!r} is not a path below {root}: it must be relative, and have no empty, '.' or '..' component."
            )
    return "/".join([root.rstrip("/"), *parts]) if parts else root


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a normalised URI, and the path in it.

    S3 is set up by the standard AWS environment variables and profiles. Its listings are not cached, and failed
    requests are repeated a bounded number of times before they raise StoreError or UsageError.
    """
    return backend(uri).filesystem(uri)


def open_read(uri: str) -> BinaryIO:
    """Open a file to read it in any order; an object is fetched in ranges as they are needed.

    Raises FileNotFoundError, UsageError (credentials, bucket, permission) and StoreError. Reading raises StoreError,
    also if an object is replaced by another one meanwhile.
    """
    return contents(uri).open_read(uri)
