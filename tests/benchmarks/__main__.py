"""Every benchmark, one after the other: `python -m tests.benchmarks`. Their figures are in docs/benchmarks.md."""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks.common import REPOSITORY

_ALL = ("tables", "memory", "overhead", "cached_tasks", "sequences", "colour", "preview", "ranges")

if __name__ == "__main__":
    ended = [subprocess.call([sys.executable, "-m", f"tests.benchmarks.{name}"], cwd=REPOSITORY) for name in _ALL]
    sys.exit(max(ended))
