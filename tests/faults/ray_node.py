"""`ray start` that lets several nodes be on loopback: `python -m tests.faults.ray_node start --address ...`.

Ray keeps to loopback only where it is told that it is on one machine, and then its command refuses a second node, which
on one machine works as well.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}

from ray._private import ray_constants
from ray.scripts import scripts

if __name__ == "__main__":
    scripts.ray_constants = SimpleNamespace(**{**vars(ray_constants), "ENABLE_RAY_CLUSTER": True})
    scripts.main()
