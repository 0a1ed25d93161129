"""Scales that are no whole numbers, through the command: frames and sizes exact, every check as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import assert_keeps, frames_rgb

pytestmark = pytest.mark.slow

FAST = ("--set", "master.preset=ultrafast", "--set", "shards.frames=10", "--set", "retry.delay=0.1")
# Each with the width and height of its master at one and a half times.
LIBRARY = {
    "even.mp4": (Clip(frames=25), (96, 72)),
    "odd.mkv": (Clip(frames=13, width=97, height=71, codec="ffv1", audio=""), (146, 106)),  # 145.5 x 106.5
    "every pixel its own colour.mkv": (
        Clip(frames=13, width=97, height=71, codec="ffv1", pix_fmt="yuv444p", audio=""), (146, 107)
    ),
    "half the columns.mkv": (Clip(frames=13, width=64, height=50, codec="ffv1", pix_fmt="yuv422p", audio=""), (96, 75)),
}  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    for name, (clip, _) in LIBRARY.items():
        make(root / name, clip)
    return root


def test_one_and_a_half_times(library: Path, remaster: Remaster, tmp_path: Path) -> None:
    """And again by another spelling, which is the same."""
    settings = ("--model", "swift", *FAST, "--set", "check.vmaf=50")
    result = remaster("run", library, tmp_path, "--scale", "1.5", *settings)
    assert result.returncode == 0, result.stdout + result.stderr
    for name, (clip, size) in LIBRARY.items():
        assert_keeps(library / name, tmp_path / name, 0, size)
        assert len(frames_rgb(tmp_path / name)) == clip.frames
    again = remaster("run", library, tmp_path, "--scale", "3/2", *settings)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 shards worked on" in remaster("status", "--store", tmp_path / ".remaster").stdout


def test_flashvsr_in_shards_and_tiles(remaster: Remaster, tmp_path: Path) -> None:
    """An odd size, in tiles whose borders lie at no whole pixel of the source; every frame comes out.

    What random weights do to colours is only reported: less of fine ones survives at a small scale than at a large.
    """
    film = make(tmp_path / "film.mkv", Clip(frames=25, width=195, height=75, codec="ffv1", cuts=(13,)))
    result = remaster("run", film, tmp_path / "out", *FAST, "--model", "flashvsr-test", "--scale", "1.5",
                      "--set", "tile=144", "--set", "tile_overlap=4", "--set", "check.picture=report")  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert_keeps(film, tmp_path / "out" / film.name, 0, (292, 112))  # 292.5 x 112.5


def test_a_scale_that_a_network_does_not_have_is_refused_with_those_it_has(remaster: Remaster, tmp_path: Path) -> None:
    film = make(tmp_path / "film.mkv")
    result = remaster("run", film, tmp_path / "out", "--model", "swift", "--scale", "1")
    assert result.returncode == 2
    assert "scale 1: swift enlarges by more than 1, up to 4. Choose such a scale, or another model." in result.stderr
    result = remaster("run", film, tmp_path / "out", "--model", "swift", "--scale", "a half")
    assert result.returncode == 2
    assert "scale = 'a half': ask for a number from 1 to 4, such as 2, 1.5 or 4/3" in result.stderr
