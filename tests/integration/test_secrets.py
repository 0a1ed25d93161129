"""What opens doors is in the environment and nowhere else: not in the store, masters, receipts, logs, nor in Prefect.

Every file that a real run leaves is searched for it, the database of Prefect's server and the logs of Ray included.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests import broken
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.s3 import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FAST = ("--scale", "2", "--set", "master.preset=ultrafast", "--set", "retry.attempts=2", "--set", "retry.delay=0.1")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name, as Ray's sockets want it."""
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Outside:
    """Everything that runs leave behind, by name."""

    def __init__(self, server: S3Server, folders: list[Path]) -> None:
        self.server, self.folders = server, folders
        self.bucket = server.make_bucket()
        self.said: list[str] = []

    def files(self) -> Iterator[tuple[str, bytes]]:
        s3 = self.server.boto()
        for entry in s3.list_objects_v2(Bucket=self.bucket)["Contents"]:
            yield entry["Key"], s3.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].read()
        for folder in self.folders:
            for path in folder.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    yield str(path), path.read_bytes()
        for number, text in enumerate(self.said):
            yield f"what run {number} said", text.encode()

    def holding(self, words: bytes) -> list[str]:
        return [name for name, data in self.files() if words in data]


def test_no_secret_is_written_anywhere(
    remaster: Remaster, s3_server: S3Server, remaster_env: dict[str, str], tmp_path: Path, short: Path
) -> None:
    library, home = tmp_path / "library", tmp_path / "home"
    make(library / "film one.mkv", Clip(frames=12))
    broken.cut(library / "cut.mkv", 0.6, make(tmp_path / "whole.mkv", Clip(frames=24)))
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    secrets = {
        "AWS_SECRET_ACCESS_KEY": s3_server.env["AWS_SECRET_ACCESS_KEY"],
        "REMASTER_SIGNING_KEY": pem,
        "PREFECT_API_KEY": "planted-key-of-prefect",
        "RAY_AUTH_TOKEN": "planted-token-of-ray",
    }
    places = {
        "PREFECT_HOME": str(home / "prefect"), "XDG_DATA_HOME": str(home / "data"), "RAY_TMPDIR": str(short),
        "PREFECT_API_URL": "", "RAY_ADDRESS": "",
    }  # fmt: skip
    env = {**s3_server.env, **secrets, **places}
    outside = Outside(s3_server, [home, short])
    store = f"s3://{outside.bucket}/work"

    run = ("--verbose", "run", library, f"s3://{outside.bucket}/masters", "--store", store, *FAST)
    good = remaster(*run, env=env)
    assert good.returncode == 3, good.stdout + good.stderr
    wrong = remaster(*run, env={**env, "AWS_SECRET_ACCESS_KEY": "planted-but-wrong"})
    assert wrong.returncode == 2, wrong.stdout + wrong.stderr
    status = remaster("status", "--store", store, env=env)
    outside.said += [text for result in (good, wrong, status) for text in (result.stdout, result.stderr)]

    # That the search finds what is there: in the store, Prefect's database, Ray's folder, and what was said.
    found = outside.holding(b"film one.mkv")
    assert any(name.startswith("work/runs/") for name in found)
    assert any(name.startswith(str(home / "prefect")) and ".db" in name for name in found)
    assert any(name.startswith("what run") for name in found)
    assert any(name.startswith(str(short)) for name, _ in outside.files())

    for name, secret in {**secrets, "wrong": "planted-but-wrong"}.items():
        inner = secret.splitlines()[1] if name == "REMASTER_SIGNING_KEY" else secret
        for form in (inner.encode(), base64.b64encode(inner.encode()).rstrip(b"=")):
            assert outside.holding(form) == [], name
    assert b"PRIVATE KEY" not in b"".join(data for _, data in outside.files())
