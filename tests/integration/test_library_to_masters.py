"""A library goes in, masters come out: the `remaster` command on a real Prefect server, real Ray and real stores."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs

from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import assert_keeps, file_hash
from tests.s3 import S3Server

FAST = ("--scale", "2", "--set", "master.preset=ultrafast", "--set", "shards.frames=10", "--set", "retry.delay=0.1")
LIBRARY = {
    "plain.mp4": Clip(frames=25, cuts=(12,), subtitle=True, chapters=True),
    "season 1/épisode.mkv": Clip(frames=21, subtitle=True, attachment=True, audio="flac"),
    "season 1/vfr.mov": Clip(frames=14, time_base=Fraction(1, 600), pts=[50 + i * 25 + i % 3 for i in range(14)]),
    "deep/er/ten.mkv": Clip(frames=12, codec="libx265", pix_fmt="yuv420p10le"),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    for name, clip in LIBRARY.items():
        make(root / name, clip)
    (root / "notes.txt").write_text("not a video")
    return root


@pytest.fixture(scope="module")
def finished(library: Path, remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("masters")
    result = remaster("run", library, output, *FAST)
    assert result.returncode == 0, result.stdout + result.stderr
    return output


def test_the_tree_of_masters_is_the_tree_of_sources(library: Path, finished: Path) -> None:
    masters = {str(p.relative_to(finished)) for p in finished.rglob("*") if p.is_file() and ".remaster" not in p.parts}
    assert masters == {file for name in LIBRARY for file in (name, f"{name}.receipt.json")}


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_a_master_keeps_all_that_its_source_carries(name: str, library: Path, finished: Path) -> None:
    assert_keeps(library / name, finished / name, 2)


def test_a_temporal_network_in_shards(remaster: Remaster, tmp_path: Path) -> None:
    """FlashVSR with small networks: warm-up, frames held back, a shot cut, an odd size; every frame comes out.

    Its weights are random, so nothing it makes looks like the source.
    """
    source = make(tmp_path / "library" / "two shots.mkv", Clip(frames=45, width=36, height=28, cuts=(33,)))
    result = remaster("run", source.parent, tmp_path / "out", *FAST, "--model", "flashvsr-test",
                      "--set", "shards.frames=30", "--set", "check.fidelity=5",
                      "--set", "check.picture=off")  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert_keeps(source, tmp_path / "out" / source.name, 2)


def test_a_second_run_works_on_nothing(library: Path, finished: Path, remaster: Remaster) -> None:
    before = {name: (finished / name).stat().st_mtime_ns for name in LIBRARY}
    result = remaster("run", library, finished, *FAST)
    assert result.returncode == 0, result.stderr
    status = remaster("status", "--store", finished / ".remaster")
    assert "0 shards worked on" in status.stdout, status.stdout
    assert {name: (finished / name).stat().st_mtime_ns for name in LIBRARY} == before


def test_a_renamed_source_keeps_its_hits(library: Path, finished: Path, remaster: Remaster, tmp_path: Path) -> None:
    renamed = tmp_path / "moved" / "other name.mp4"
    renamed.parent.mkdir()
    renamed.write_bytes((library / "plain.mp4").read_bytes())
    store = finished / ".remaster"
    result = remaster("run", renamed.parent, tmp_path / "out", *FAST, "--store", store)
    assert result.returncode == 0, result.stderr
    assert "0 shards worked on" in remaster("status", "--store", store).stdout
    assert_keeps(renamed, tmp_path / "out" / renamed.name, 2)


def test_a_changed_master_setting_works_on_no_shard(library: Path, finished: Path, remaster: Remaster) -> None:
    result = remaster("run", library / "plain.mp4", finished / "again", *FAST, "--set", "master.quality=30",
                      "--store", finished / ".remaster")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "0 shards worked on" in remaster("status", "--store", finished / ".remaster").stdout
    assert (finished / "again" / "plain.mp4").stat().st_size < (finished / "plain.mp4").stat().st_size


def test_a_torn_segment_is_made_again_and_only_that(library: Path, finished: Path, remaster: Remaster) -> None:
    store = finished / ".remaster"
    whole = file_hash(finished / "plain.mp4")
    shards = pq.read_table(store / "runs" / sorted(p.name for p in (store / "runs").iterdir())[0] / "shards.parquet")
    key = next(row["key"] for row in shards.to_pylist() if row["title"] == "plain.mp4" and row["index"] == 1)
    (segment,) = (store / "segments" / key[:2]).glob(f"{key}-*.mkv")
    segment.write_bytes(segment.read_bytes()[:-100])
    (finished / "plain.mp4").unlink()
    result = remaster("run", library, finished, *FAST)
    assert result.returncode == 0, result.stderr
    assert "1 shards worked on" in remaster("status", "--store", store).stdout
    assert file_hash(finished / "plain.mp4") == whole


def test_the_tables_are_plain_parquet(finished: Path) -> None:
    run = min((finished / ".remaster" / "runs").iterdir())
    titles = pq.read_table(run / "titles.parquet").to_pylist()
    assert [t["name"] for t in titles] == sorted(LIBRARY)
    shards = pq.read_table(run / "shards.parquet").to_pylist()
    for name, clip in LIBRARY.items():
        ranges = sorted((s["start"], s["stop"]) for s in shards if s["title"] == name)
        assert [r[0] for r in ranges] == [0, *(r[1] for r in ranges[:-1])]
        assert ranges[-1][1] == clip.frames
    ledger = pq.read_table(run / "ledger.parquet").to_pylist()
    assert {(row["title"], row["index"]) for row in ledger} == {(s["title"], s["index"]) for s in shards}
    assert {row["outcome"] for row in ledger} == {"done"}


def test_shards_see_the_same_frames_as_one_long_shard(
    library: Path, finished: Path, remaster: Remaster, tmp_path: Path
) -> None:
    result = remaster("run", library / "plain.mp4", tmp_path, *FAST, "--set", "shards.frames=1000")
    assert result.returncode == 0, result.stderr
    assert file_hash(tmp_path / "plain.mp4") == file_hash(finished / "plain.mp4")


def test_the_same_through_a_real_object_store(
    library: Path, finished: Path, remaster: Remaster, s3_server: S3Server
) -> None:
    bucket = s3_server.make_bucket()
    fs = s3fs.S3FileSystem(
        key=s3_server.env["AWS_ACCESS_KEY_ID"], secret=s3_server.env["AWS_SECRET_ACCESS_KEY"],
        client_kwargs={"endpoint_url": s3_server.endpoint},
    )  # fmt: skip
    names = ("plain.mp4", "season 1/épisode.mkv")
    for name in names:
        fs.put_file(str(library / name), f"{bucket}/catalogue/{name}")
    arguments = ("run", f"s3://{bucket}/catalogue", f"s3://{bucket}/masters", "--store", f"s3://{bucket}/work", *FAST)
    # Ray's workers live in the cluster, which has no credentials of this bucket: they need a Ray of this run's own.
    env = {**s3_server.env, "RAY_ADDRESS": ""}
    result = remaster(*arguments, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in names:
        fs.invalidate_cache()
        assert fs.cat_file(f"{bucket}/masters/{name}") == (finished / name).read_bytes(), name
    again = remaster(*arguments, env=env)
    assert again.returncode == 0, again.stderr
    assert "0 shards worked on" in remaster("status", "--store", f"s3://{bucket}/work", env=env).stdout
    assert not s3_server.boto().list_multipart_uploads(Bucket=bucket).get("Uploads")
