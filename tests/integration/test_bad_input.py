"""Bad titles, bad places and bad settings through the whole command: named, explained, and no harm to the rest."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from tests import broken
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import assert_keeps
from tests.needs import mounted, resize
from tests.s3 import S3Server

FAST = ("--scale", "2", "--set", "master.codec=h264", "--set", "master.preset=ultrafast", "--set", "retry.delay=0.1")
GOOD = {
    "one frame.mp4": Clip(frames=1),
    "ünï¢ode 🎬\nnewline.mkv": Clip(frames=6),
    "-rf.mkv": Clip(frames=6),
    "sub/a..b.mov": Clip(frames=6),
    "odd.mkv": Clip(frames=2, width=33, height=17, codec="ffv1", audio=""),
    "1x1.mkv": Clip(frames=2, width=1, height=1, codec="ffv1", pix_fmt="yuv444p", audio=""),
    "8k wide.mkv": Clip(frames=2, width=7680, height=32, audio=""),
}
DONE = [*GOOD, "fields.mp4"]  # which is interlaced
BAD = {
    "empty.mp4": "is empty (0 bytes)",
    "words.mp4": "cannot be opened as a video",
    "sound.mp4": "has no video stream",
    "cut.mkv": "is truncated or damaged",
    "noise.mp4": "is damaged at",
    "twice.mp4": "would write the same master",
    "twice.m4v": "would write the same master",
    "dangling.mp4": "leads nowhere",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    for name, clip in GOOD.items():
        make(root / name, clip)
    scratch = tmp_path_factory.mktemp("scratch")
    (root / "empty.mp4").touch()
    broken.text(root / "words.mp4")
    broken.audio_only(root / "sound.mp4")
    broken.cut(root / "cut.mkv", 0.6, make(scratch / "whole.mkv", Clip(frames=24)))
    broken.with_noise(root / "noise.mp4", make(scratch / "whole.mp4", Clip(frames=24)))
    broken.interlaced(root / "fields.mp4", flagged=True)
    make(root / "twice.mp4", Clip(frames=2))
    make(root / "twice.m4v", Clip(frames=2))
    (root / "dangling.mp4").symlink_to("/nowhere/film.mp4")
    (root / "loop").symlink_to(root)
    return root


class Finished:
    """The mixed library's run, and where its words are."""

    def __init__(self, result: subprocess.CompletedProcess[str], output: Path) -> None:
        self.result, self.output, self.store = result, output, output / ".remaster"
        (self.run,) = (self.store / "runs").iterdir()


@pytest.fixture(scope="module")
def mixed(library: Path, remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    output = tmp_path_factory.mktemp("masters")
    return Finished(remaster("run", library, output, *FAST), output)


def test_a_bad_title_never_stops_the_others(mixed: Finished, library: Path) -> None:
    assert mixed.result.returncode == 3, mixed.result.stdout + mixed.result.stderr
    masters = {str(p.relative_to(mixed.output)) for p in mixed.output.rglob("*") if p.is_file()}
    receipts = {f"{name}.receipt.json" for name in DONE}
    assert {name for name in masters if not name.startswith(".remaster/")} == set(DONE) | receipts
    for name in DONE:
        assert_keeps(library / name, mixed.output / name, 2)


@pytest.fixture(scope="module")
def status(mixed: Finished, remaster: Remaster) -> str:
    """What `remaster status` says of the mixed library's run."""
    said = remaster("status", mixed.run.name, "--store", mixed.store)
    assert said.returncode == 3
    return said.stdout


@pytest.mark.parametrize("name", sorted(BAD))
def test_every_bad_title_is_explained_wherever_one_looks(name: str, mixed: Finished, status: str) -> None:
    report = (mixed.run / "report.html").read_text()
    for place in (status, report.replace("&#39;", "'").replace("&#34;", '"')):
        assert re.search(rf"{re.escape(name)}: [^\n]*({BAD[name].replace('(', '[(]').replace(')', '[)]')})", place), (
            place
        )


def test_the_command_names_those_that_are_not_done(mixed: Finished) -> None:
    assert f"{len(BAD)} of {len(BAD) + len(DONE)} titles are not done" in mixed.result.stderr
    assert all(f"{name}: " in mixed.result.stderr for name in BAD)


def test_prefect_knows_the_run_finished_with_exceptions(mixed: Finished, prefect_api: str) -> None:
    states = flow_states(prefect_api, mixed.run.name)
    assert states["remaster library"] == [("FAILED", "Exceptions")]
    assert Counter(state for state, _ in states["remaster title"]) == {"COMPLETED": len(DONE), "FAILED": len(BAD)}


def test_what_cannot_get_better_is_tried_once(mixed: Finished, prefect_api: str) -> None:
    wanted = {
        "flow_runs": {"name": {"any_": ["cut.mkv", "noise.mp4"]}},
        "task_runs": {"name": {"like_": "plan "}},
    }
    runs = httpx.post(f"{prefect_api}/task_runs/filter", json=wanted).json()
    assert {run["name"]: run["run_count"] for run in runs} == {"plan cut.mkv": 1, "plan noise.mp4": 1}


def test_titles_that_were_refused_are_in_the_table_with_the_reason(mixed: Finished) -> None:
    rows = {row["name"]: row for row in pq.read_table(mixed.run / "titles.parquet").to_pylist()}
    assert set(rows) == set(DONE) | set(BAD)
    assert "is empty" in rows["empty.mp4"]["refused"]
    assert rows["-rf.mkv"]["refused"] == ""


def test_a_library_of_nothing_good_fails(remaster: Remaster, tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "library").mkdir()
    broken.text(tmp_path / "library" / "words.mp4")
    result = remaster("run", tmp_path / "library", tmp_path / "out", *FAST)
    assert result.returncode == 1
    assert "words.mp4: cannot be opened as a video" in result.stderr
    run = next((tmp_path / "out" / ".remaster" / "runs").iterdir()).name
    assert flow_states(prefect_api, run)["remaster library"] == [("FAILED", "Failed")]


def flow_states(api: str, run: str) -> dict[str, list[tuple[str, str]]]:
    """Type and name of the states of a run's flow and of its titles' flows, by the flow's name."""
    (top,) = httpx.post(f"{api}/flow_runs/filter", json={"flow_runs": {"name": {"any_": [run]}}}).json()
    children = httpx.post(
        f"{api}/flow_runs/filter", json={"flow_runs": {"parent_flow_run_id": {"any_": [top["id"]]}}}
    ).json()
    return {
        "remaster library": [(top["state_type"], top["state_name"])],
        "remaster title": [(child["state_type"], child["state_name"]) for child in children],
    }


class Bomb:
    """A pickle that would leave a file behind if it were read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.place}",)


def test_weights_that_are_a_pickle_bomb_do_not_go_off(remaster: Remaster, tmp_path: Path, library: Path) -> None:
    weights, crater = tmp_path / "net.pth", tmp_path / "crater"
    weights.write_bytes(pickle.dumps({"weight": Bomb(crater)}))
    result = remaster("run", library / "-rf.mkv", tmp_path / "out", "--model", weights)
    assert result.returncode == 2
    assert "net.pth" in result.stderr
    assert "Traceback" not in result.stderr
    assert not crater.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{library}", "{tmp}/out", "--model", "{tmp}/none.safetensors"], "none.safetensors"),
        (["{library}", "{tmp}/out", "--scale", "0"], "scale = 0"),
        (["{library}", "{tmp}/out", "--scale", "5"], "scale = 5"),
        (["{library}", "{tmp}/out", "--set", "master.codek=ffv1"], "did you mean master.codec"),
        (["{library}", "{tmp}/out", "--set", "master.codec"], "write it as NAME=VALUE"),
        (["{library}", "{tmp}/out", "--profile", "{tmp}/none.toml"], "none.toml: cannot be read"),
        (["{library}", "{tmp}/out", "--workers", "-1"], "workers = -1: Input should be greater than or equal to 0"),
        (["{library}", "{library}/masters"], "output .* lies inside the library"),
        (["{library}", "{tmp}/out", "--store", "{library}/work"], "store .* lies inside the library"),
        (["{library}", "ftp://host/out"], "ftp"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_what_is_wrong_before_anything_is_started(
    arguments: list[str], words: str, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *(a.format(library=library, tmp=tmp_path) for a in arguments)]) == 2
    said = capsys.readouterr().err
    assert re.search(words, said), said
    assert not list(tmp_path.rglob("*.mkv"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{library}", "{tmp}/out", "--model", "lanczoz"], "did you mean lanczos"),
        (["{library}", "{tmp}/out", "--only", "nothing*"], r"no title matches 'nothing\*'"),
        (["{tmp}/nowhere", "{tmp}/out"], "no such file or folder"),
        (["{tmp}/hollow", "{tmp}/out"], "holds no video file"),
        (["{library}", "/proc/out"], "cannot be (written|made)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_leaves_with_2_and_a_sentence(
    arguments: list[str], words: str, library: Path, remaster: Remaster, tmp_path: Path
) -> None:
    (tmp_path / "hollow").mkdir()
    result = remaster("run", *(a.format(library=library, tmp=tmp_path) for a in arguments), timeout=120)
    assert result.returncode == 2, result.stdout + result.stderr
    assert re.search(words, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("*.mkv"))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("ro,size=1m", 2, "cannot be written (Read-only file system)"),
        ("size=8k", 1, "not begun: store and masters need"),
    ],
    ids=["read-only", "full"],
)
def test_a_disk_that_takes_no_master(options: str, code: int, words: str, remaster: Remaster, tmp_path: Path) -> None:
    source = make(tmp_path / "library" / "film.mkv", Clip(frames=12, width=320, height=240))
    disk = tmp_path / "disk"
    with mounted(disk, options):
        result = remaster("run", source, disk, *FAST, "--set", "retry.attempts=2", "--store", tmp_path / "store")
        left = [path for path in disk.rglob("*") if path.is_file()]
    assert result.returncode == code, result.stdout + result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not left, "something half-written was left"


def leave_little_once_a_shard_is_made(disk: Path) -> None:
    deadline = time.monotonic() + 250
    while not list(disk.rglob("records/**/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    resize(disk, shutil.disk_usage(disk).used + (256 << 10))


@pytest.mark.timeout(600)
def test_a_store_that_is_full_says_so_and_keeps_what_is_done(remaster: Remaster, tmp_path: Path) -> None:
    source = make(tmp_path / "library" / "film.mkv", Clip(frames=40, width=320, height=240, cuts=(20,)))
    disk = tmp_path / "disk"
    arguments = (*FAST, "--set", "retry.attempts=2", "--set", "shards.frames=4", "--store", disk / "store")
    with mounted(disk, "size=2g"):
        # Somebody else takes the rest: on a disk that is so small from the start nothing would be begun.
        filled = threading.Thread(target=leave_little_once_a_shard_is_made, args=(disk,))
        filled.start()
        result = remaster("run", source, tmp_path / "out", *arguments)
        filled.join()
        assert result.returncode == 1, result.stdout + result.stderr
        assert "No space left" in result.stderr
        assert re.search(r"film\.mkv.*\[\d+,\d+\)", result.stderr), result.stderr
        assert not list(disk.rglob(".remaster-tmp-*"))
        done = {path.name for path in disk.rglob("records/**/*.json")}
        resize(disk, "200m")
        again = remaster("run", source, tmp_path / "out", *arguments)
        assert again.returncode == 0, again.stdout + again.stderr
        assert done
        assert done < {path.name for path in disk.rglob("records/**/*.json")}
    assert_keeps(source, tmp_path / "out" / "film.mkv", 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "secret"),
        # The store's own sentences for these are in test_store_s3.
        pytest.param({"AWS_ACCESS_KEY_ID": "nobody"}, "key", marks=pytest.mark.slow),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9", marks=pytest.mark.slow),
        pytest.param({}, "no-such-bucket", marks=pytest.mark.slow),
    ],
    ids=["wrong secret", "unknown key", "nobody listens", "missing bucket"],
)
@pytest.mark.parametrize(
    "side", ["library", pytest.param("output", marks=pytest.mark.slow), pytest.param("store", marks=pytest.mark.slow)]
)
def test_a_bucket_that_cannot_be_used(
    change: dict[str, str],
    words: str,
    side: str,
    library: Path,
    remaster: Remaster,
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    bucket = "no-such-bucket" if not change else s3_server.bucket
    places = {"library": str(library / "-rf.mkv"), "output": str(tmp_path / "out"), "store": str(tmp_path / "store")}
    places[side] = f"s3://{bucket}/place/x.mkv" if side == "library" else f"s3://{bucket}/place"
    result = remaster("run", places["library"], places["output"], "--store", places["store"], *FAST,
                      env={**s3_server.env, **change}, timeout=120)  # fmt: skip
    assert result.returncode == 2, result.stdout + result.stderr
    assert re.search(words, result.stderr, re.IGNORECASE), result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_that_found_nothing_to_do_has_ended(
    remaster: Remaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not taken for one that goes on, which a store could not be cleaned beside."""
    make(tmp_path / "library" / "film.mp4", Clip(frames=2))
    store = str(tmp_path / "store")
    result = remaster("run", tmp_path / "library", tmp_path / "out", "--store", store, "--only", "nothing*")
    assert result.returncode == 2
    assert "no title matches 'nothing*'" in result.stderr
    assert main(["status", "--store", store]) == 1
    assert "failed: " in (said := capsys.readouterr().out)
    assert "no title matches 'nothing*'" in said
    main(["clean", store])
    assert "may be going on" not in capsys.readouterr().err


def test_a_film_beside_another_one_is_not_replaced_by_its_master(remaster: Remaster, tmp_path: Path) -> None:
    film, other = make(tmp_path / "film.mp4", Clip(frames=2)), make(tmp_path / "film.mkv", Clip(frames=3))
    before = other.read_bytes()
    result = remaster("run", film, tmp_path, "--scale", "2", "--set", "master.container=mkv")
    assert result.returncode == 1, result.stderr
    assert "taken by a file that remaster did not make" in result.stderr
    assert other.read_bytes() == before
