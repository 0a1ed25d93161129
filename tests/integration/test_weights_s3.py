"""Weights in a bucket of a real S3 server: imported once, found by every machine, and never half there."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows.cli import main
from tasks.quality.lpips import load_lpips
from tests.conftest import REPOSITORY
from tests.s3 import S3Place, use
from tests.unit.test_flashvsr_weights import DIT, PROMPT, V11, install_small, publish
from tests.unit.test_quality import lpips_tree
from vsr_model import bucket
from vsr_model.contract import Placement
from vsr_model.errors import WeightsError
from vsr_model.flashvsr.models import TEST_SIZES, entry, load
from vsr_model.flashvsr.weights import Manifest, load_prompt, read_manifest
from vsr_model.weights import cache_folder, local_file

USED = ("dit", "projection", "tcdecoder", "prompt")  # and the vae by the -full modes


@pytest.fixture
def place(s3: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """Weights in a prefix of this test's own, and a machine that has copied none of them yet."""
    monkeypatch.setenv("REMASTER_WEIGHTS", f"{s3.root}/weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return s3


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return publish(tmp_path / "files")


def pixels() -> torch.Tensor:
    stream = load(entry(V11).info, Placement(), sizes=TEST_SIZES).stream(16, 16, 2)
    frames_T3HW = torch.rand((3, 3, 16, 16), generator=torch.Generator().manual_seed(3))
    return torch.cat([stream.push(frames_T3HW), stream.finish()])


def objects(place: S3Place) -> set[str]:
    listed = place.server.boto().list_objects_v2(Bucket=place.server.bucket, Prefix=f"{place.prefix}/weights/")
    return {item["Key"].removeprefix(f"{place.prefix}/weights/") for item in listed.get("Contents", [])}


def converted(manifest: Manifest) -> set[str]:
    return {f"{V11}/{sha256}/{role}.safetensors" for role, sha256 in manifest.sha256.items()}


def copies() -> set[str]:
    return {path.name for path in cache_folder().rglob("*") if path.is_file() and path.suffix != ".lock"}


def key(place: S3Place, name: str) -> dict[str, str]:
    return {"Bucket": place.server.bucket, "Key": f"{place.prefix}/weights/{name}"}


def changed(folder: Path) -> Path:
    """The published files with a transformer of other values."""
    save_file({name: value + 0.01 for name, value in load_file(folder / DIT).items()}, folder / DIT)
    return folder


def test_a_bucket_gives_the_pixels_that_a_folder_gives(
    place: S3Place, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = install_small(published)
    assert objects(place) == {f"{V11}/manifest.json"} | converted(manifest)
    assert copies() == set(), "an import leaves nothing on the machine it was made on"
    from_bucket = pixels()
    assert copies() == {f"{role}.safetensors" for role in USED}, "what the mode does not use is not fetched"
    monkeypatch.setenv("REMASTER_WEIGHTS", str(tmp_path / "installed"))
    assert install_small(published) == manifest
    assert torch.equal(pixels(), from_bucket)


def test_weights_are_fetched_once(place: S3Place, published: Path) -> None:
    manifest = install_small(published)
    first = pixels()
    for name in converted(manifest):
        place.server.boto().delete_object(**key(place, name))
    assert torch.equal(pixels(), first)


def test_workers_that_start_together_share_one_copy(place: S3Place, published: Path) -> None:
    """Had one fetched a copy of its own, it would have put another file in the place of the first."""
    sha256 = install_small(published).sha256["dit"]
    code = "import sys; from vsr_model.weights import local_file; print(local_file(*sys.argv[1:]).stat().st_ino)"
    command = [sys.executable, "-c", code, f"{V11}/{sha256}/dit.safetensors", sha256]
    workers = [
        subprocess.Popen(command, cwd=REPOSITORY, env=dict(os.environ), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    inodes = {int(worker.communicate(timeout=60)[0]) for worker in workers}
    assert len(inodes) == 1


def test_what_a_killed_download_left_is_not_taken_for_weights(place: S3Place, published: Path) -> None:
    sha256 = install_small(published).sha256["dit"]
    left = cache_folder() / sha256 / "dit.safetensors.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert pixels().isfinite().all()
    assert not left.exists()


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: content[:-1] + b"\xff"])
def test_a_damaged_object_is_refused_by_name(place: S3Place, published: Path, damage) -> None:
    sha256 = install_small(published).sha256["projection"]
    name = key(place, f"{V11}/{sha256}/projection.safetensors")
    whole = place.server.boto().get_object(**name)["Body"].read()
    place.server.boto().put_object(**name, Body=damage(whole))
    with pytest.raises(WeightsError, match=rf"s3://.*{sha256}/projection\.safetensors: \d+ bytes came whose hash"):
        pixels()
    assert "projection.safetensors" not in str(copies())
    install_small(published)
    assert pixels().isfinite().all(), "importing again repairs it"


def test_a_damaged_copy_says_that_it_may_be_deleted(place: S3Place, published: Path) -> None:
    sha256 = install_small(published).sha256["dit"]
    pixels()
    copy = cache_folder() / sha256 / "dit.safetensors"
    os.truncate(copy, 100)
    with pytest.raises(WeightsError, match=rf"{copy}.*Delete this copy"):
        pixels()
    copy.unlink()
    assert pixels().isfinite().all()


def test_without_a_manifest_nothing_is_installed(
    place: S3Place, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_small(published)
    assert main(["models"]) == 0
    assert capsys.readouterr().out.count("not installed") == 2, "v1 and v1-full"
    place.server.boto().delete_object(**key(place, f"{V11}/manifest.json"))
    assert main(["models"]) == 0
    assert capsys.readouterr().out.count("not installed: put its five files") == 4
    with pytest.raises(WeightsError, match="remaster weights import flashvsr-v1"):
        entry(V11).load(Placement())


def test_an_object_that_is_gone_is_named(place: S3Place, published: Path) -> None:
    sha256 = install_small(published).sha256["prompt"]
    place.server.boto().delete_object(**key(place, f"{V11}/{sha256}/prompt.safetensors"))
    with pytest.raises(WeightsError, match=rf"{sha256}/prompt\.safetensors: not there.*Import these weights again"):
        pixels()


def test_an_import_that_breaks_off_changes_nothing(
    place: S3Place, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the first one, nor one over another."""
    send = bucket.send

    def break_off(path: Path, uri: str) -> None:
        if path.name == "tcdecoder.safetensors":
            raise WeightsError("broken off")
        send(path, uri)

    monkeypatch.setattr(bucket, "send", break_off)
    with pytest.raises(WeightsError, match="broken off"):
        install_small(published)
    with pytest.raises(WeightsError, match="not installed"):
        read_manifest(V11)
    monkeypatch.setattr(bucket, "send", send)
    before, first = install_small(published), pixels()
    monkeypatch.setattr(bucket, "send", break_off)
    with pytest.raises(WeightsError, match="broken off"):
        install_small(changed(published))
    assert read_manifest(V11) == before
    assert not [path for path in cache_folder().iterdir() if path.name.startswith(".")]
    shutil.rmtree(cache_folder())
    assert torch.equal(pixels(), first), "for a machine that has no copy yet, too"


def test_a_new_import_replaces_the_old_one_and_is_picked_up(place: S3Place, published: Path) -> None:
    before, first = install_small(published), pixels()
    after = install_small(changed(published))
    assert after.weights_hash != before.weights_hash
    assert objects(place) == {f"{V11}/manifest.json"} | converted(after)
    assert not torch.equal(pixels(), first)


def test_a_network_has_the_weights_whose_hash_it_told(place: S3Place, published: Path) -> None:
    """Also if others are imported in between: then it does not load."""
    before = install_small(published)
    planned = entry(V11)
    assert planned.reference().weights_hash == before.weights_hash
    install_small(changed(published))
    with pytest.raises(WeightsError, match=rf"{before.sha256['dit']}/dit\.safetensors: not there"):
        planned.load(Placement())


def test_a_manifest_of_something_else_is_not_installed(place: S3Place, published: Path) -> None:
    sha256 = install_small(published).sha256
    whole = {"version": V11, "format": 1, "sha256": sha256, "source_sha256": {}}
    others = [whole | {"version": "flashvsr-v1"}, whole | {"sha256": {}}, whole | {"sha256": sha256 | {"vae": "../.."}}]
    for damaged in (*map(json.dumps, others), "[]", "{"):
        place.server.boto().put_object(**key(place, f"{V11}/manifest.json"), Body=damaged.encode())
        with pytest.raises(WeightsError, match="import them again"):
            read_manifest(V11)
    install_small(published)
    assert read_manifest(V11).version == V11


def test_who_may_only_read_can_load_and_not_import(
    place: S3Place, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_small(published)
    use(place.server.reader_env, monkeypatch)
    assert pixels().isfinite().all()
    with pytest.raises(WeightsError, match=r"refuses these credentials.*AWS_ACCESS_KEY_ID.*import also writes"):
        install_small(published)


def test_wrong_credentials_and_buckets_say_what_to_do(
    place: S3Place, published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REMASTER_WEIGHTS", "s3://no-such-bucket-here/weights")
    with pytest.raises(WeightsError, match=r"no such bucket.*REMASTER_WEIGHTS"):
        install_small(published)
    monkeypatch.setenv("REMASTER_WEIGHTS", f"{place.root}/weights")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert main(["models"]) == 2
    assert "refuses these credentials. Check AWS_ACCESS_KEY_ID" in capsys.readouterr().err
    assert main(["weights", "import", V11, str(published)]) == 2
    assert "refuses these credentials" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_not_the_buckets_fault(
    place: S3Place, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_small(published)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be written there.*XDG_CACHE_HOME"):
        pixels()


def test_files_larger_than_one_part_arrive_whole(place: S3Place, tmp_path: Path) -> None:
    content = os.urandom(110 * 2**20)
    (tmp_path / "large").write_bytes(content)
    bucket.send(tmp_path / "large", f"{place.root}/weights/large")
    copy = local_file("large")
    assert copy is not None
    assert copy.read_bytes() == content


def test_lpips_weights_may_lie_there_too(place: S3Place) -> None:
    assert load_lpips(torch.device("cpu")) is None
    place.server.boto().put_object(**key(place, "lpips/alexnet.ckpt"), Body=pickle.dumps(lpips_tree()))
    assert load_lpips(torch.device("cpu")) is not None
    place.server.boto().put_object(**key(place, "lpips/alexnet.ckpt"), Body=b"junk")
    with pytest.raises(WeightsError, match="not the weights of LPIPS"):
        load_lpips(torch.device("cpu"))


def test_the_prompt_is_the_one_that_was_published(place: S3Place, published: Path) -> None:
    manifest = install_small(published)
    assert torch.equal(load_prompt(manifest), torch.load(published / PROMPT)[0])
