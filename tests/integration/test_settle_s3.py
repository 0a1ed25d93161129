"""What comes into a bucket: an object appears whole, is left while it is young, and counts as new by its content."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flows.watching import Watched
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from tests.s3 import S3Place

SETTLE = 2.0
PROFILE = read_profile(None, {"scale": 2, "shards.frames": 10})


@pytest.fixture
def library(s3: S3Place) -> Store:
    return Store(f"{s3.root}/films")


def test_an_object_is_left_while_it_is_young(
    library: Store, s3: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (make(tmp_path / f"{n}.mkv", Clip(frames=5 + n)).read_bytes() for n in range(2))
    library.write("old.mkv", old)
    watched = Watched(library.root, SETTLE)
    time.sleep(SETTLE + 1.2)  # servers tell whole seconds
    library.write("new.mkv", new)
    left, still = scan(library.root, f"{s3.root}/out", PROFILE, SETTLE)
    assert (still.name, still.left, still.refused) == ("old.mkv", "", "")
    assert left.left.startswith("new.mkv: changed ")
    assert left.probe is None
    assert watched.new() == ["old.mkv"]
    watched.take()
    later = time.time() + 60
    monkeypatch.setattr("tasks.scan.time.time", lambda: later)
    assert watched.new() == ["new.mkv"]
    assert not any(title.left for title in scan(library.root, f"{s3.root}/out", PROFILE, SETTLE))


def test_an_overwritten_object_is_taken_again_by_its_content(library: Store, s3: S3Place, tmp_path: Path) -> None:
    one, other = (make(tmp_path / f"{n}.mkv", Clip(frames=5 + n)).read_bytes() for n in range(2))
    watched, store = Watched(library.root, 0.0), Store(str(tmp_path / "store"))

    def shards() -> list[str]:
        (title,) = scan(library.root, f"{s3.root}/out", PROFILE)
        return [shard.key for shard in plan_title(title, PROFILE, store).shards]

    library.write("film.mkv", one)
    assert watched.new() == ["film.mkv"]
    watched.take()
    assert watched.new() == []
    before = shards()
    library.write("film.mkv", other)
    assert watched.new() == ["film.mkv"]
    assert shards() != before
    watched.take()
    time.sleep(1.1)
    library.write("film.mkv", one)
    assert watched.new() == ["film.mkv"]  # somebody wrote it anew
    assert shards() == before  # and what was made of it counts
