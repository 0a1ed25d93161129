"""A local store that fills up, at whatever moment: what is there is right, and with more room it goes on from there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.errors import StoreFull
from tasks.records import Record, from_sealed
from tasks.store import Digest, Store
from tests import mastered
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.needs import mounted, resize

SETTINGS: dict[str, object] = {"scale": 2, "shards.frames": 10, "master.preset": "ultrafast"}
STEP = 96 << 10


@pytest.fixture
def films(tmp_path: Path) -> Path:
    make(tmp_path / "films" / "film.mkv", Clip(frames=40, width=128, height=96))
    return tmp_path / "films"


def test_at_every_size_of_disk_what_is_there_is_right(films: Path, tmp_path: Path) -> None:
    wanted = mastered.masters_of(films, tmp_path / "roomy", SETTINGS)
    small, moments = tmp_path / "small", set()
    with mounted(small, f"size={STEP}"):
        for size in range(STEP, 100 * STEP, STEP):
            resize(small, size)
            try:
                made = mastered.masters_of(films, small, SETTINGS)
            except StoreFull as error:
                assert "Free some, or use a store elsewhere" in str(error)  # noqa: PT017
                moments.add(_require_right(Store(str(small / "work"))))
                assert not list((small / "masters").rglob("film.mkv"))
                continue
            assert made == wanted
            break
        else:
            raise AssertionError("it never ends well")
    assert len(moments) > 2, "it filled up at several moments"


def _require_right(store: Store) -> int:
    """Hold every record against its segment; returns how many there are."""
    records = [from_sealed(Record, store.read(place)) for place in store.list("records")]
    assert all(store.matches(record.segment, Digest(record.sha256, record.size)) for record in records)
    assert store.temporaries() == ()
    return len(records)


@pytest.mark.faults
def test_a_run_names_title_and_shard_and_goes_on_with_more_room(
    films: Path, remaster: Remaster, tmp_path: Path
) -> None:
    wanted = mastered.masters_of(films, tmp_path / "roomy", SETTINGS)
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    small, arguments = tmp_path / "small", ("--set", "retry.delay=0.1", "--set", "retry.attempts=2")
    with mounted(small, f"size={3 * STEP}"):
        run = ("run", films, tmp_path / "out", "--store", small / "store", *settings, *arguments)
        full = remaster(*run)
        assert full.returncode == 1
        assert "film.mkv" in full.stderr
        assert "No space left to write" in full.stderr
        assert "Traceback" not in full.stderr
        assert not os.path.exists(tmp_path / "out" / "film.mkv")
        resize(small, 200 * STEP)
        again = remaster(*run)
        assert again.returncode == 0, again.stderr
        _require_right(Store(str(small / "store")))
    assert (tmp_path / "out" / "film.mkv").read_bytes() == wanted["film.mkv"]
