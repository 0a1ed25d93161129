"""Masters as assets of Prefect, and the sources they are made of: which is made of which can be followed there.

An asset's key is the URI of its file, in the characters that Prefect lets a key have.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from prefect.assets import Asset, AssetProperties, add_asset_metadata
from prefect.context import AssetContext

_LONGEST = 512


def asset(uri: str, name: str) -> Asset:
    """The asset that a file or object is. `name`: what a person calls it."""
    place = uri if "://" in uri else PurePosixPath(uri).as_uri()
    return Asset(key=asset_key(uri), properties=AssetProperties(name=name, url=place))


def describe(uri: str, facts: dict[str, Any]) -> None:
    """Note facts about the master that the task around has made."""
    with suppress(ValueError, RuntimeError):  # called by itself, it makes no asset
        add_asset_metadata(asset_key(uri), facts)


def nothing_made() -> None:
    """The task around made none of its assets this time, so none is reported."""
    if context := AssetContext.get():
        context.downstream_assets.clear()
        context.update_tracked_assets()


def asset_key(uri: str) -> str:
    """The key of a file or object: its URI, with `~20` where a URI has `%20`; two files never have the same.

    A key that would be too long ends in a hash.
    """
    scheme, mark, path = uri.partition("://")
    if not mark:
        scheme, path = "file", uri
    # A tilde needs no escape in a URI, but here it is the escape.
    escaped = quote(path, safe="/:@!$()*+,;=", errors="surrogateescape").replace("~", "%7E")
    key = f"{scheme}://{escaped.replace('%', '~')}"
    if len(key) <= _LONGEST:
        return key
    ending = f"~{hashlib.sha256(uri.encode(errors='surrogateescape')).hexdigest()[:32]}"
    return key[: _LONGEST - len(ending)] + ending
