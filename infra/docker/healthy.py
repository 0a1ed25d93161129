"""Exit 0 if the servers that this container was told of answer: Prefect's and Ray's, whichever are set.

    PREFECT_API_URL   e.g. http://prefect:4200/api; a server's own container names itself
    RAY_ADDRESS       e.g. ray-head:6379

A container that was told of neither has nothing to wait for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request

_SECONDS = 8


def main() -> int:
    """Ask both."""
    prefect, ray = os.environ.get("PREFECT_API_URL"), os.environ.get("RAY_ADDRESS")
    try:
        if prefect:
            with urllib.request.urlopen(f"{prefect}/health", timeout=_SECONDS):  # noqa: S310 (whose address it is told)
                pass
        if ray:
            subprocess.run(["ray", "health-check", "--address", ray], timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
