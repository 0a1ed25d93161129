"""How long a person waits for the page to choose a network on: `python -m tests.benchmarks.preview [CLIP]`.

As the command is typed: three seconds from the middle by the two small networks, on the CPU. What the machine does
besides counts into the wall time, and not into the processor's.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from tests.benchmarks.common import REPOSITORY, remaster, report, scratch


def main(clip: Path = REPOSITORY / "datasets/demo/flower.mp4", models: str = "lanczos,swift") -> None:
    """Make a page, and say what it took."""
    with scratch() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = folder / "page.html"
        done = remaster("preview", clip, "--models", models, "--page", page, home=folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = page.stat().st_size / 1e6
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {"seconds": round(done.seconds, 1), "processor_seconds": round(busy, 1), "page_mb": round(size, 1)}
    said = f"{clip.name} by {models}: {done.seconds:.0f} s, {busy:.0f} s of computing, page {size:.1f} MB"
    report("preview", {"clip": clip.name, "models": models, **figures}, said)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
