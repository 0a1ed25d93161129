"""Which software made something: versions of all that can change a pixel. Knows nothing of what was made."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import av

_PACKAGES = ("remaster", "torch", "av")


@lru_cache(maxsize=1)
def software_versions() -> dict[str, str]:
    """Name to version; the same for every process of one installation."""
    found = {name: _version(name) for name in _PACKAGES}
    return found | {"ffmpeg": str(av.ffmpeg_version_info), "python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "run from its source, not installed"
