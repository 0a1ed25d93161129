"""What `remaster plan` says of real clips, against what is then made of them.

Bytes come out the same on any machine. Seconds do not, so what is said of those is not held against a run here; the
benchmark of the estimate does that.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.estimate import by_processor

NEAR = 0.15
CLIPS = (
    "nasa_2video_2audio_2subs.mp4", "friday_1940film_480p30.mp4", "car_768x432_12fps.mp4", "flower_540p30.mp4",
    "bbb_720p25_aac51.mp4",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS)
def test_bytes_are_said_to_within_15_percent(clip: str, shared_clips: Path, tmp_path: Path) -> None:
    settings = {"scale": 1, "master.codec": "h264", "master.preset": "veryfast"}
    said, true = by_processor(shared_clips / clip, tmp_path, settings)
    for what in ("store_bytes", "master_bytes"):
        assert said[what] == pytest.approx(true[what], rel=NEAR), f"{what}: {said[what] / true[what] - 1:+.1%}"
