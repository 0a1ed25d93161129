"""Shards that another driver has in hand keep nobody from the others, however many they are."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from tests.contract import assert_keeps
from tests.faults import kills

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = {"scale": 2, "shards.frames": 10, "shards.cut_score": 100, "master.codec": "h264"}


def test_a_worker_is_not_idle_while_anything_is_free(remaster_env: dict[str, str], tmp_path: Path) -> None:
    source, output = make(tmp_path / "library" / "film.mkv", Clip(frames=100)), tmp_path / "out"
    store = Store(str(output / ".remaster"))
    (title,) = scan(str(source), str(output), read_profile(None, SETTINGS))
    shards = plan_title(title, read_profile(None, SETTINGS), store).shards
    assert len(shards) == 10
    elsewhere, free = shards[:6], shards[6:]  # more than one worker's run begins at once
    for shard in elsewhere:
        claim = {"process": "elsewhere-12-34", "expires": time.time() + 3600}
        assert store.create(f"leases/{shard.key}.0001", json.dumps(claim).encode())
    log = tmp_path / "log"
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    driver = kills.start(["run", source, output, "--workers", 1, *settings], remaster_env, log)
    try:
        made = {shard.key for shard in free}
        kills.wait_until(lambda: kills.records(output / ".remaster") == made, driver, log, 400)
        for shard in elsewhere:
            store.delete(f"leases/{shard.key}.0001")
        assert driver.wait(400) == 0, log.read_text(errors="replace")
    finally:
        driver.kill()
        driver.wait()
    assert_keeps(source, output / "film.mkv", 2)
