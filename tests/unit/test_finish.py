"""What a master is joined from is what its segments' records speak of: a bit that flips after the hit is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.errors import StoreDamaged
from tasks.finish import finish_title
from tasks.store import Store
from tests import mastered
from tests.mastered import TITLE, Mastered, flip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    root = tmp_path_factory.mktemp("finish")
    return mastered.remaster(mastered.library(root / "films"), str(root / "out"), str(root / "store"))


def finish(done: Mastered, output: Store) -> None:
    """From records that were hits a moment ago."""
    finish_title(done.plan, done.profile, done.records, Store(done.store), output, lambda frames: None, lambda: None)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 1.0])
def test_a_bit_that_flips_between_the_hit_and_the_master(share: float, done: Mastered, tmp_path: Path) -> None:
    output, segment = Store(str(tmp_path)), Path(done.store) / done.records[1].segment
    whole = segment.read_bytes()
    flip(segment, int(share * (len(whole) - 1)))
    try:
        words = rf"{re.escape(done.plan.shards[1].name)}: its segment {re.escape(str(segment))} is gone, or changed"
        with pytest.raises(StoreDamaged, match=words):
            finish(done, output)
        assert output.list() == [], "nothing of it is published"
    finally:
        segment.write_bytes(whole)


def test_a_segment_that_is_gone(done: Mastered, tmp_path: Path) -> None:
    segment = Path(done.store) / done.records[2].segment
    whole = segment.read_bytes()
    segment.unlink()
    try:
        with pytest.raises(StoreDamaged, match=r"its segment .* is gone, or changed"):
            finish(done, Store(str(tmp_path)))
    finally:
        segment.write_bytes(whole)


def test_from_whole_segments_the_master_is_the_same_again(done: Mastered, tmp_path: Path) -> None:
    finish(done, Store(str(tmp_path)))
    assert (tmp_path / TITLE).read_bytes() == (Path(done.output) / TITLE).read_bytes()
