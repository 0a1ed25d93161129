"""`ray start` that lets several nodes be on loopback: `python -m tests.faults.ray_node start --address ...`.

Ray keeps to loopback only where it is told that it is on one machine, and then its command refuses a second node, which
on one machine works as well.
"""

from __future__ import annotations

from types import SimpleNamespace

from flows import environment

environment.keep_ray_on_loopback()

from ray._private import ray_constants  # noqa: E402
from ray.scripts import scripts  # noqa: E402

if __name__ == "__main__":
    scripts.ray_constants = SimpleNamespace(**{**vars(ray_constants), "ENABLE_RAY_CLUSTER": True})
    scripts.main()
