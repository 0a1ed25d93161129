"""Where weights lie: a folder or a bucket, which is asked only when its answer matters."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import pytest

from flows.cli import main
from tasks.errors import is_permanent
from tests.s3 import environment, use
from vsr_model import weights
from vsr_model.contract import Placement
from vsr_model.errors import WeightsError, WeightsUnreachable
from vsr_model.registry import find, load, models


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in a bucket at an endpoint where nothing answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    use(environment(f"http://127.0.0.1:{port}", "key", "secret"), monkeypatch)
    monkeypatch.setenv("REMASTER_WEIGHTS", "s3://models/weights/")


@pytest.mark.parametrize(
    ("named", "place"),
    [("s3://models/weights/", "s3://models/weights"), ("s3://models", "s3://models"), ("/srv/weights", "/srv/weights")],
)
def test_a_folder_or_a_bucket(named: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMASTER_WEIGHTS", named)
    assert weights.weights_place() == place


@pytest.mark.parametrize(
    "named", ["s3:/models/weights", "s3://", "s3:///weights", "gs://models", "file:///srv/weights"]
)
def test_any_other_place_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMASTER_WEIGHTS", named)
    with pytest.raises(WeightsError, match=r"local folder or at s3://bucket/prefix"):
        weights.weights_place()


def test_a_file_in_a_folder_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMASTER_WEIGHTS", str(tmp_path))
    (tmp_path / "net.bin").write_bytes(b"weights")
    assert weights.local_file("net.bin") == tmp_path / "net.bin"
    assert weights.read("net.bin") == b"weights"
    assert weights.local_file("other.bin") is None
    assert weights.read("other.bin") is None
    assert weights.read("net.bin/manifest.json") is None


@pytest.mark.usefixtures("nobody")
def test_a_bucket_is_not_asked_for_what_does_not_need_it() -> None:
    assert {"swift", "flashvsr-v1.1"} <= {entry.info.name for entry in models()}
    assert find("flashvsr-v1.1").info.settings == "flashvsr"
    assert load("lanczos", Placement()).info.name == "lanczos"


@pytest.mark.usefixtures("nobody")
def test_a_bucket_that_does_not_answer_is_said_once_below_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 2
    out, err = capsys.readouterr()
    assert out.count("installed or not: see below") == 4
    assert "swift" in out
    assert "any single-image network" in out
    assert err.count("remaster: ") == 1
    assert "s3://models/weights/flashvsr-v1.1/manifest.json" in err
    assert "cannot be reached. Check AWS_ENDPOINT_URL" in err


@pytest.mark.usefixtures("nobody")
def test_a_run_that_needs_the_bucket_does_not_start_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tmp_path), str(tmp_path / "out"), "--model", "flashvsr-v1.1"]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("nobody")
def test_a_worker_may_try_again_what_did_not_answer() -> None:
    with pytest.raises(WeightsUnreachable) as raised:
        find("flashvsr-v1.1").load(Placement())
    assert not is_permanent(pickle.loads(pickle.dumps(raised.value)))
    assert is_permanent(WeightsError("damaged"))


@pytest.mark.usefixtures("nobody")
def test_no_credentials_are_a_matter_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(WeightsError, match=r"locate credentials.*AWS_ACCESS_KEY_ID") as raised:
        weights.read("flashvsr-v1.1/manifest.json")
    assert is_permanent(raised.value)


@pytest.mark.usefixtures("nobody")
def test_an_endpoint_that_is_none_is_a_matter_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(WeightsError, match=r"nonsense.*AWS_ENDPOINT_URL"):
        weights.read("flashvsr-v1.1/manifest.json")
