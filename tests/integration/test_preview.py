"""A page to choose a network on comes while a person waits for it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Remaster

CLIP = REPOSITORY / "datasets/demo/flower.mp4"


@pytest.mark.slow
def test_three_seconds_by_the_small_networks_take_less_than_a_minute(remaster: Remaster, tmp_path: Path) -> None:
    """A minute of two cores, as other tests have a part of them: the clock would say what those do."""

    def computed() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, page = computed(), tmp_path / "page.html"
    made = remaster("preview", CLIP, "--seconds", "3", "--models", "lanczos,swift", "--page", page)
    assert made.returncode == 0, made.stderr
    assert page.read_text().count("swift") > 1
    assert computed() - before < 2 * 60
