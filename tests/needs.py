"""What a test needs of a machine and may not find there: a reason to skip it, or in CI to fail.

But for mounts: a container may forbid them to root, and no installation helps.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

# Set by .ci/run, which installs what tests need: there a test that was skipped would pass for one that was run.
VARIABLE = "REMASTER_NO_SKIP"


def lacking(what: str) -> NoReturn:
    """Skip the test, or fail where nothing may be skipped."""
    if os.environ.get(VARIABLE):
        pytest.fail(f"{what} ({VARIABLE} is set)", pytrace=False)
    pytest.skip(what)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system of its own in a new folder, where this user may mount one: root, in most containers not."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid():
        pytest.skip("only root may mount file systems")
    mount = subprocess.run(command, capture_output=True, check=False)
    if mount.returncode:
        pytest.skip(f"no mounts here: {mount.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def resize(folder: Path, size: str | int) -> None:
    """Give such a file system another size, in bytes or as `mount` has it."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
