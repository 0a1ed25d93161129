"""How many pictures a second a title has, where its container says something else."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.reading.rate import rate_of
from tasks.media.reading.source import Source
from tests import mastered
from tests.clips import Clip, make
from tests.fielded import NTSC, film, write
from tests.torture import converted

DV = {
    "pal": (Fraction(25), replace(Clip(), frames=4, width=720, height=576, rate=Fraction(25)), "yuv420p"),
    "ntsc": (NTSC, replace(Clip(), frames=4, width=720, height=480, rate=NTSC), "yuv411p"),
}


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("system", DV)
def test_raw_dv_is_remastered_at_its_own_rate_and_not_at_its_clocks(
    system: str, container: str, tmp_path: Path
) -> None:
    rate, clip, layout = DV[system]
    (tmp_path / "films").mkdir()
    coded = ("-c:v", "dvvideo", "-pix_fmt", layout, "-c:a", "pcm_s16le", "-ac", "2")
    path = converted(*coded, base=clip)(tmp_path / "films" / "tape.dv")
    settings = {"scale": 1, "master.codec": "h264", "master.container": container, "limits.frames": 100}
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    assert (done.plan.title.probe.frame_rate, done.plan.rate) == (rate, rate)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [line for line in check.lines if not line[1]] == []
    rows = compare(Source(str(path), "tape.dv"), Source(done.master.uri, "master"))
    assert [row for row in rows if row.verdict == "lost"] == []


def test_a_timecode_counts_by_the_nominal_rate_where_frames_are_missing(tmp_path: Path) -> None:
    """Of a film of 29.97 frames a second with a gap the average is one that numbers cannot be dropped of."""
    (tmp_path / "films").mkdir()
    times = [1001 * (n if n < 15 else n + 8) for n in range(40)]
    options = {"qp": "0", "preset": "ultrafast"}
    write(tmp_path / "films" / "tape.mov", film(40), "libx264", NTSC, Fraction(1, 30000), times, options,
          timecode="01:00:00;00")  # fmt: skip
    with av.open(str(tmp_path / "films" / "tape.mov")) as container:
        assert container.streams.video[0].average_rate < 28
    settings = {"cadence": "progressive", "scale": 1, "master.codec": "h264"}
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [line for line in check.lines if not line[1]] == []
    (seen,) = [seen for line, _, seen in check.lines if line == "timecode"]
    assert seen.startswith("01:00:00;00")


def test_without_a_timecode_the_rate_is_the_average(tmp_path: Path) -> None:
    times = [1001 * (n if n < 15 else n + 8) for n in range(40)]
    clip = Clip(frames=40, rate=NTSC, time_base=Fraction(1, 30000), pts=times, audio="")
    with av.open(str(make(tmp_path / "film.mov", clip))) as container:
        (stream,) = container.streams.video
        assert rate_of(stream) == stream.average_rate != stream.guessed_rate
