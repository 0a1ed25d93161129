"""The command that tries a pipeline, as its users type it: nothing set, and so every check as it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import assert_keeps


@pytest.mark.slow
def test_a_trial_of_the_pipeline_is_exact_in_frames_and_size(remaster: Remaster, tmp_path: Path) -> None:
    """At a tenth of the size of the clip of that name, and one of its seconds: what it makes is four times as large."""
    film = make(tmp_path / "flower_540p30.mp4", Clip(frames=30, width=96, height=54, rate=Fraction(30)))
    result = remaster("run", film, tmp_path / "OUT", "--model", "flashvsr-test")
    assert result.returncode == 0, result.stdout + result.stderr
    assert_keeps(film, tmp_path / "OUT" / film.name, 4)
    with av.open(str(tmp_path / "OUT" / film.name)) as master:
        sizes = [(frame.width, frame.height) for frame in master.decode(video=0)]
    assert sizes == [(384, 216)] * 30
