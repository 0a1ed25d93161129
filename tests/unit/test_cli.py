"""The command line's surface: frozen, so that growth is a decision, and answers that need no run."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main, parser
from tests.clips import Clip, make
from tests.hdr import make_hdr

PROFILE = {"--profile", "--model", "--scale", "--set", "--video-stream", "--encoder-option", "--fps", "--hdr"}
LIBRARY = {*PROFILE, "--store", "--workers", "--ray-address", "--only", "--settle"}
OPTIONS = {
    "run": {*LIBRARY, "--force", "--new-only"},
    "serve": {*LIBRARY, "--cron", "--timezone", "--name", "--notify"},
    "deploy": {*LIBRARY, "--cron", "--timezone", "--name", "--notify", "--pool"},
    "watch": {*LIBRARY, "--every"},
    "plan": {*PROFILE, "--output", "--store", "--workers", "--json"},
    "preview": {"--at", "--seconds", "--models", "--part", "--page", "--profile", "--scale", "--set"},
    "status": {"--store", "--watch"},
    "rerun": {"--store", "--workers", "--ray-address", "--title", "--shard", "--reason", "--with"},
    "approve": {"--store", "--by", "--note"},
    "reject": {"--store", "--by", "--reason", "--shots", "--shard", "--with"},
    "models": set(),
    "bench": {"--model", "--size", "--scale", "--chunks", "--precision", "--random-weights"},
    "weights": set(),
    "probe": {"--compare", "--profile", "--video-stream", "--json"},
    "score": {"--json"},
    "verify": {"--key", "--json"},
    "clean": {"--yes", "--cut-off"},
}


def test_the_options_are_these_and_no_others() -> None:
    (commands,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    surface = {
        name: {option for action in command._actions for option in action.option_strings} - {"-h", "--help"}
        for name, command in commands.choices.items()
    }
    assert surface == OPTIONS


def test_models_lists_every_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "lanczos" in out
    assert "bicubic" in out
    assert "whatever lies between 1 and the largest of its scales, such as x1.5, a network makes too\n" in out


def test_probe_says_what_a_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "-odd name.mp4", Clip(frames=5, subtitle=True))
    assert main(["probe", "--", str(path)]) == 0
    out = capsys.readouterr().out
    for word in ("64x48", "h264", "aac", "mov_text", "<- the picture", "limited range"):
        assert word in out


def test_probe_says_how_hdr_was_graded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(make_hdr(tmp_path / "film.mp4", frames=2))]) == 0
    line = "  hdr     PQ, graded on a display of 0.005 to 1000 nits, MaxCLL 1000, MaxFALL 300\n"
    assert line in capsys.readouterr().out


def test_plan_shows_shards_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "library" / "two shots.mp4", Clip(frames=50, cuts=(30,)))
    assert main(["plan", str(tmp_path / "library"), "--scale", "2", "--set", "shards.frames=40"]) == 0
    out = capsys.readouterr().out
    assert "50 frames in 2 shards" in out
    assert "[30,50)  starts at shot" in out
    assert [p.name for p in tmp_path.iterdir()] == ["library"]


def test_plan_says_that_a_run_would_make_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "library" / "film.mkv", Clip(frames=2))
    (tmp_path / "library" / "empty.mkv").touch()
    library = str(tmp_path / "library")
    assert main(["plan", library, "--scale", "2", "--set", "shards.frames=40"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "a run may begin, without what is refused: empty.mkv"
    (tmp_path / "library" / "film.mkv").unlink()
    assert main(["plan", library, "--scale", "2"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "a run would make nothing: every title is refused"


def test_usage_errors_leave_with_2_and_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "nowhere"), str(tmp_path / "out"), "--model", "lanczoz"]) == 2
    assert "did you mean lanczos" in capsys.readouterr().err
    assert main(["probe", str(tmp_path)]) == 2
    assert "is a folder. Name one file in it" in capsys.readouterr().err
    library = make(tmp_path / "library" / "film.mkv", Clip(frames=2)).parent
    assert main(["plan", str(library), "--store", str(library / "store")]) == 2
    assert "lies inside the library" in capsys.readouterr().err
    assert [file.name for file in library.iterdir()] == ["film.mkv"]


def test_help_needs_neither_prefect_nor_ray_nor_torch() -> None:
    code = (
        "import sys, flows.cli as c; c.parser().format_help(); print({'prefect','ray','torch','av'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_bench_prints_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", "flashvsr-test", "--size", "16x24", "--scale", "2", "--chunks", "2"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["model"], figures["source"], figures["frames"]) == ("flashvsr-test", [16, 24], 16)
    assert set(figures["milliseconds"]) == {"all", "projection", "dit", "decode"}
    # The parts are timed in a pass of their own: on a busy machine they may add up to more than the whole was.
    assert min(figures["milliseconds"].values()) > 0
    assert figures["fps"] > 0
    assert main(["bench", "--size", "16x25", "--scale", "3/2", "--chunks", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == [24, 38]
    assert main(["bench", "--size", "16x24", "--scale", "half"]) == 2
    assert "--scale: half is no scale; write 2, 1.5 or 4/3." in capsys.readouterr().err
    assert main(["bench", "--size", "16"]) == 2
    assert main(["bench", "--model", "swift", "--random-weights"]) == 2
