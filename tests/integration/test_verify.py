"""Receipts through the real command: Prefect, Ray, a local folder and a real S3 server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from flows.cli import main
from tasks.store import Store
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.mastered import flip
from tests.s3 import S3Place

FAST = ("--scale", "2", "--set", "master.preset=ultrafast", "--set", "shards.frames=10", "--set", "retry.delay=0.1")
NAMES = ("dog.mp4", "season 1/cat.mkv")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    make(root / NAMES[0], Clip(frames=25, cuts=(12,), subtitle=True))
    make(root / NAMES[1], Clip(frames=14))
    return root


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "public.pem").write_bytes(public)
    return folder


@pytest.fixture(scope="module")
def finished(library: Path, keys: Path, remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("masters")
    result = remaster("run", library, output, *FAST, env={"REMASTER_SIGNING_KEY": str(keys / "key.pem")})
    assert result.returncode == 0, result.stdout + result.stderr
    return output


def receipts(output: Path) -> dict[str, bytes]:
    return {name: (output / f"{name}.receipt.json").read_bytes() for name in NAMES}


def test_every_master_has_a_signed_receipt_that_holds(finished: Path, keys: Path, remaster: Remaster) -> None:
    result = remaster("verify", "--key", keys / "public.pem", finished, finished / ".remaster")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("signed by") == 2
    held = {name: json.loads(data) for name, data in receipts(finished).items()}
    assert [held[name]["master"]["frames"] for name in NAMES] == [25, 14]
    assert all(one["check"] == [] for one in held.values())


def test_the_same_run_again_and_elsewhere_gives_the_same_receipts(
    finished: Path, library: Path, keys: Path, remaster: Remaster, tmp_path: Path
) -> None:
    before = receipts(finished)
    env = {"REMASTER_SIGNING_KEY": str(keys / "key.pem")}
    for output in (finished, tmp_path):
        result = remaster("run", library, output, *FAST, env=env)
        assert result.returncode == 0, result.stdout + result.stderr
        assert receipts(output) == before


def test_what_is_damaged_is_named_and_mended_by_running_again(
    finished: Path, library: Path, keys: Path, remaster: Remaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shutil.copytree(finished, tmp_path / "out")
    store = output / ".remaster"
    segments, records = sorted(store.rglob("segments/*/*")), sorted(store.rglob("records/*/*"))
    damaged = [output / NAMES[0], output / f"{NAMES[1]}.receipt.json", segments[0], records[1]]
    for file in damaged:
        flip(file, file.stat().st_size // 2)
    assert main(["verify", str(output), str(store)]) == 1
    said = capsys.readouterr().out
    assert all(f"{file}\n" in said for file in damaged), said
    assert "4 not as they should be" in said
    result = remaster("run", library, output, *FAST, env={"REMASTER_SIGNING_KEY": str(keys / "key.pem")})
    assert result.returncode == 0, result.stdout + result.stderr
    assert main(["verify", str(output), str(store)]) == 0, capsys.readouterr().out


def test_a_key_that_does_not_sign_shows_before_any_work(library: Path, remaster: Remaster, tmp_path: Path) -> None:
    result = remaster("run", library, tmp_path / "out", *FAST, env={"REMASTER_SIGNING_KEY": str(tmp_path / "no.pem")})
    assert result.returncode == 2
    assert "REMASTER_SIGNING_KEY" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_masters_and_store_in_a_bucket(
    library: Path, remaster: Remaster, s3: S3Place, capsys: pytest.CaptureFixture[str]
) -> None:
    masters, work = f"{s3.root}/masters", f"{s3.root}/work"
    # Ray's workers live in the cluster, which has no credentials of this bucket: they need a Ray of this run's own.
    env = {**s3.server.env, "RAY_ADDRESS": ""}
    result = remaster("run", library, masters, "--store", work, *FAST, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    assert main(["verify", masters, work, f"{masters}/{NAMES[0]}"]) == 0, capsys.readouterr()

    store, output = Store(work), Store(masters)
    segment = store.list("segments")[0]
    for place, key in ((store, segment), (output, NAMES[0])):
        data = bytearray(place.read(key))
        data[len(data) // 2] ^= 1
        place.write(key, bytes(data))
    nobodys = "segments/ab/ab" + "0" * 62 + "-" + "0" * 16 + ".mkv"
    store.write(nobodys, b"0123456789")
    assert main(["verify", masters, work]) == 1
    said = capsys.readouterr().out
    assert f"{output.uri(NAMES[0])}\n" in said and f"{store.uri(segment)}\n" in said

    before = set(store.list())
    assert (main(["clean", work]), set(store.list())) == (0, before)
    assert store.uri(nobodys) in capsys.readouterr().out
    assert main(["clean", work, "--yes"]) == 0
    assert before - set(store.list()) == {nobodys}
