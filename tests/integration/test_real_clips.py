"""Real files with real quirks, through the whole product: what is handled keeps its contract, the rest is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Remaster
from tests.contract import assert_keeps

pytestmark = pytest.mark.slow

REFUSED = {
    "dovi_hlg_rotated_editlist_vfr.mp4": "HLG",
    "hdr10_av1_mdcv_clli_1080p60.mp4": "PQ",
    "hdr10_av1_portrait_720x1280.mp4": "PQ",
    "hdr10_pq_1080p_hevc10.mp4": "PQ",
    "hlg_1080p_hevc10_vfr.mp4": "HLG",
}


@pytest.fixture(scope="module")
def outcomes(
    shared_clips: Path, remaster: Remaster, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """How each clip ended, by name. Scale 1: the contract does not depend on the scale, the time it takes does."""
    output = tmp_path_factory.mktemp("masters")
    result = remaster("run", shared_clips, output, "--scale", "1", "--set", "master.codec=h264",
                      "--set", "master.preset=ultrafast", timeout=1500)  # fmt: skip
    assert result.returncode == 3, result.stdout + result.stderr
    files = next((output / ".remaster" / "runs").iterdir()).glob("outcomes/*.json")
    return {outcome["title"]: outcome for outcome in map(json.loads, (file.read_text() for file in files))}


@pytest.mark.timeout(1600)
def test_every_clip_that_is_handled_keeps_frames_times_and_packets(
    shared_clips: Path, outcomes: dict[str, dict[str, str]]
) -> None:
    clips = {path.name for path in shared_clips.iterdir() if path.suffix != ".md"}
    assert set(outcomes) == clips
    for name in sorted(clips - set(REFUSED)):
        assert outcomes[name]["state"] == "done", outcomes[name]["reason"]
        assert_keeps(shared_clips / name, Path(outcomes[name]["master"]), 1)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_hdr_clips_are_refused_with_the_reason(name: str, outcomes: dict[str, dict[str, str]]) -> None:
    assert outcomes[name]["state"] in {"refused", "failed"}
    assert REFUSED[name] in outcomes[name]["reason"]
    assert not outcomes[name]["master"]
