"""Names of files and folders on their way to becoming something else, and the end of those that never will.

A name tells which process made it. It knows local folders only.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tasks.store.process import is_gone, is_here, this_process
from tasks.store.protocol import TEMPORARY

# What a process of another machine left is surely dead when nothing has changed in it for this long.
_ABANDONED_SECONDS = 24 * 3600.0


def temporary_name() -> str:
    """A new name for something half-written, of this process."""
    return f"{TEMPORARY}{this_process()}-{uuid.uuid4().hex}"


def sweep(folder: Path) -> int:
    """Remove what dead processes left right in a folder; returns how many files and folders that were.

    Dead are processes of this machine that run no more, and whoever has not touched what is theirs for a day, unless it
    is a process of this machine that still runs. What cannot be removed, somebody else's for instance, stays.
    """
    return sum(_remove(entry) for entry in _temporaries(folder) if _is_dead(entry))


def sweep_below(folder: Path) -> int:
    """The same for a folder and all folders in it."""
    removed = sweep(folder)
    for inner in _folders(folder):
        removed += sweep_below(inner)
    return removed


def _temporaries(folder: Path) -> list[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.name.startswith(TEMPORARY)]
    return []


def _folders(folder: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        inner = [e.path for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(TEMPORARY)]
        yield from map(Path, inner)


def _is_dead(path: Path) -> bool:
    process = path.name.removeprefix(TEMPORARY).rpartition("-")[0]
    if is_gone(process):
        return True
    return _untouched_seconds(path) > _ABANDONED_SECONDS and not is_here(process)


def _untouched_seconds(path: Path) -> float:
    """Since the last change of a file, or of a folder or anything right in it; 0 if it is gone meanwhile."""
    try:
        inside = list(path.iterdir()) if path.is_dir() else []
        return time.time() - max(each.lstat().st_mtime for each in (path, *inside))
    except OSError:
        return 0.0


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    return not path.exists()
