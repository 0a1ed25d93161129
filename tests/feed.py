"""Events as a Prefect server has them."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.conftest import PREFECT_PATIENCE


def events(api: str, name: str, wanted: int, **about: Any) -> list[dict[str, Any]]:
    """Events of this name, newest first, once there are so many: they arrive a moment after what they tell of.

    Args:
        api: URL of the server.
        name: of the event.
        wanted: how many; after a while it is as many as there are.
        about: further filters of Prefect's, such as `resource={"id": [...]}`.
    """
    query = {"filter": {"event": {"name": [name]}, **about}}
    deadline = time.monotonic() + PREFECT_PATIENCE
    while True:
        found: list[dict[str, Any]]
        found = (
            httpx.post(f"{api}/events/filter", json=query, timeout=PREFECT_PATIENCE).raise_for_status().json()["events"]
        )
        if len(found) >= wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.3)
