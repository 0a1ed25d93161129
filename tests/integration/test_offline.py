"""`remaster run FILE OUT` needs no server, no cluster and no network, and leaves nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import Clip, make
from tests.conftest import REPOSITORY
from tests.contract import assert_keeps


def _alone(home: Path) -> dict[str, str]:
    """An environment without any server of the session."""
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.slow
def test_it_works_with_the_network_cut_off(tmp_path: Path) -> None:
    cut_off = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*cut_off, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us make a network namespace")
    source = make(tmp_path / "film.mp4", Clip(frames=12, subtitle=True))
    command = [sys.executable, "-m", "flows.cli", "run", str(source), str(tmp_path / "out"), "--scale", "2"]
    result = subprocess.run(
        [*cut_off, *command],
        env=_alone(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert_keeps(source, tmp_path / "out" / "film.mp4", 2)
    # Nothing is reported that is not the run's own.
    assert "Error" not in result.stderr, result.stderr
    assert "rror" not in result.stdout
