"""A master with faults waits for a person through nights and runs, and what they say is done: no more, and once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tasks.finish import held_place, is_held
from tasks.receipt import receipt_place
from tests.clips import Clip, make
from tests.conftest import PREFECT_PATIENCE, Remaster
from tests.contract import assert_keeps, file_hash
from tests.faulty import Faults
from tests.integration.test_deployments import Server, command, running, until
from tests.s3 import S3Place
from tests.unit.test_hold import Held

SHARD, SHARDS = 8, 5
SETTINGS = (
    *("--model", "faulty", "--scale", "2", "--set", f"shards.frames={SHARD}", "--set", "shards.shortest=4"),
    *("--set", "retry.attempts=1", "--set", "master.preset=ultrafast", "--set", "check.picture=hold"),
)
TITLE = "a film.mp4"


class Gate:
    """A library of one film whose second and fourth shard come out with a fault."""

    def __init__(self, folder: Path, remaster: Remaster, env: dict[str, str]) -> None:
        self.library, self.output = folder / "films", folder / "out"
        self.source = make(self.library / TITLE, Clip(frames=SHARD * SHARDS, width=96, height=64, cuts=(24,)))
        self.master, self.receipt = self.output / TITLE, self.output / f"{TITLE}.receipt.json"
        self._remaster = remaster
        self.faults = Faults(folder / "faults")
        self.key = folder / "key.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key], check=True)
        self.env = self.faults.env(env) | {"REMASTER_SIGNING_KEY": str(self.key)}
        self.faults.happen("black", SHARD, 3 * SHARD)

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self._remaster(*arguments, env=self.env)

    def run(self, *arguments: object, picture: str = "hold") -> subprocess.CompletedProcess[str]:
        return self("run", self.library, self.output, *SETTINGS, "--set", f"check.picture={picture}", *arguments)

    @property
    def store(self) -> Path:
        return self.output / ".remaster"

    def waiting(self) -> list[Path]:
        return sorted((self.store / "held").glob("*")) if (self.store / "held").is_dir() else []

    def hold(self) -> dict[str, Any]:
        (file,) = (self.store / "holds").rglob("hold.json")
        found: dict[str, Any] = json.loads(file.read_bytes())
        return found

    def latest(self) -> Path:
        return max((self.store / "runs").iterdir(), key=lambda run: run.stat().st_mtime_ns)

    def made(self) -> list[int]:
        """First frames of the shards that the latest run made."""
        rows = pq.read_table(self.latest() / "ledger.parquet").to_pylist()
        return sorted(row["start"] for row in rows if row["outcome"] == "done")


@pytest.fixture
def gate(remaster: Remaster, remaster_env: dict[str, str], tmp_path: Path) -> Gate:
    return Gate(tmp_path, remaster, remaster_env)


def ended(result: subprocess.CompletedProcess[str], code: int) -> str:
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_approved_master_is_published_with_a_receipt_that_says_who(gate: Gate) -> None:
    said = ended(gate.run(), 3)
    assert "waits for a person" in said and "black in shard 1, frames [9,10)" in said
    assert not gate.master.exists() and not gate.receipt.exists()
    (held,) = gate.waiting()
    seen = (held.stat().st_mtime_ns, file_hash(held))
    assert "1 of 1 titles are not done" in said
    report = (gate.latest() / "report.html").read_text()
    assert "held" in report and "data:image/jpeg" in report
    (page,) = (gate.store / "holds").rglob("review.html")
    assert page.read_text().count('src="data:image/jpeg') == 4

    # A night passes it over; a whole run makes nothing of it twice; neither publishes it.
    night = ended(gate.run("--new-only"), 3)
    assert "waits for a person" in night
    assert not (gate.latest() / "ledger.parquet").exists()
    ended(gate.run(), 3)
    assert gate.made() == []
    assert (held.stat().st_mtime_ns, file_hash(held)) == seen and not gate.master.exists()
    status = ended(gate("status", "--store", gate.store), 3)
    assert f"waits for a person: {TITLE}  black, hue, saturation; {held}" in status

    said = ended(gate("approve", TITLE, "--store", gate.store, "--by", "ann@lab", "--note", "old film"), 0)
    assert str(gate.master) in said
    assert file_hash(gate.master) == seen[1] and gate.waiting() == []
    receipt = json.loads(gate.receipt.read_bytes())
    (review,) = receipt["reviews"]
    assert (review["verdict"], review["by"], review["note"]) == ("approved", "ann@lab", "old film")
    assert len(review["accepted"]) == len(receipt["check"]) >= 2
    assert "black, frames [9,10)" in review["accepted"][0]
    public = gate.key.with_name("public.pem")
    subprocess.run(["openssl", "pkey", "-in", gate.key, "-pubout", "-out", public], check=True)
    assert "all as they should be" in ended(gate("verify", gate.output, "--key", public), 0)

    # From now on it is done, for a night and for a run that looks at everything.
    first = gate.receipt.read_bytes()
    assert "1 of them before" in ended(gate.run("--new-only"), 0)
    ended(gate.run(), 0)
    assert gate.receipt.read_bytes() == first and file_hash(gate.master) == seen[1]
    assert f"approved by ann@lab on {review['at']}: old film" in (gate.latest() / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_a_rejected_master_only_the_chosen_shots_are_made_again(gate: Gate) -> None:
    ended(gate.run(), 3)
    assert gate.hold()["shots"] == [0, 24]
    wrong = gate("reject", TITLE, "--store", gate.store, "--shots", "2")
    assert "has shots 0 to 1" in ended(wrong, 2)
    for setting in ("master.codec=h264", "model=no-such-network"):
        ended(gate("reject", TITLE, "--store", gate.store, "--with", setting), 2)
    assert gate.hold()["state"] == "waiting"

    # The second shot: the fourth and fifth shard. The black picture of the first one is still there then.
    with_it = ("--shots", "1", "--with", "model=bicubic", "--by", "ann@lab", "--reason", "black")
    said = ended(gate("reject", gate.latest().name, "--store", gate.store, *with_it), 0)
    assert "[24,32), [32,40) will be made anew with model=bicubic" in said
    first = gate.waiting()
    assert "rejected, for the next run: a film.mp4" in ended(gate("status", "--store", gate.store), 3)
    said = ended(gate.run("--new-only"), 3)
    assert "black in shard 1, frames [9,10)" in said and "shard 3" not in said
    assert gate.made() == [24, 32]
    assert gate.waiting() != first and len(gate.waiting()) == 1
    assert "waits for a person" in ended(gate.run("--new-only"), 3)

    # No shots named: those with faults. Without any setting they are made as they were, and the network is well now.
    gate.faults.happen("black")
    ended(gate("reject", TITLE, "--store", gate.store, "--by", "bob", "--reason", "still black"), 0)
    assert "1 of 1 titles done" in ended(gate.run("--new-only"), 0)
    assert gate.made() == [8]
    assert gate.waiting() == [] and gate.hold()["state"] == "settled"
    assert_keeps(gate.source, gate.master, 2)
    receipt = json.loads(gate.receipt.read_bytes())
    assert [(r["verdict"], r["by"], r["rejected"]) for r in receipt["reviews"]] == [
        ("rejected", "ann@lab", [[24, 32], [32, 40]]),
        ("rejected", "bob", [[8, 16]]),
    ]
    assert [s["start"] for s in receipt["shards"] if "settings" in s] == [24, 32]
    before = file_hash(gate.master)
    assert "1 of them before" in ended(gate.run("--new-only"), 0)
    ended(gate.run(), 0)  # what a person decided stays, whoever runs it
    assert (gate.made(), file_hash(gate.master)) == ([], before)


def test_what_waits_in_a_bucket_is_published_there(
    s3: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(tmp_path, monkeypatch, s3.root)
    made = held.publish()
    name = held.title.master
    assert is_held(made.uri) and not held.output.exists(name)
    data = held.output.read(held_place(made.key, held.title))
    held.say(held.hold(made), decision="approve")
    assert held.output.read(name) == data and not held.output.exists(held_place(made.key, held.title))
    assert held.output.exists(receipt_place(name))
    assert held.publish().uri == held.output.uri(name)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prefect_asks_once_and_does_what_the_form_says(gate: Gate, prefect_api: str, tmp_path: Path) -> None:
    """A flow run is suspended without a process; an answer that cannot be carried out is asked for again."""
    with httpx.Client(base_url=prefect_api, timeout=PREFECT_PATIENCE) as client:
        server = Server(client)

        def asked() -> list[dict[str, Any]]:
            return server.find("flow_runs", flows={"name": {"any_": ["remaster review"]}}, flow_runs=_called(TITLE))

        def suspended(key: str = "") -> dict[str, Any]:
            """The flow run that asks, once it does so by another question than `key`."""

            def look() -> dict[str, Any] | None:
                (run,) = asked() or [None]
                is_another = run and run["state"]["name"] == "Suspended" and _question(run)["response"] != key
                return run if is_another else None

            found: dict[str, Any] = until(look)
            return found

        def resume(run: dict[str, Any], **answer: Any) -> None:
            body = {"run_input": answer}
            client.post(f"/flow_runs/{run['id']}/resume", json=body).raise_for_status()

        serve = command("serve", gate.library, gate.output, *SETTINGS, "--settle", "0", "--name", "gated")
        with running(serve, gate.env, tmp_path / "log", "gated-review"):
            night = server.ended(server.start("remaster library/gated-nightly"))
            assert night["state"]["name"] == "Exceptions" and "waits for a person" in night["state"]["message"]
            (title,) = server.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [night["id"]]}})
            assert title["state"]["name"] == "Held"
            shown = server.find("artifacts", artifacts={"flow_run_id": {"any_": [title["id"]]}, "type": MARKDOWN})
            assert any(a["key"].startswith("review-") and a["data"].count("data:image/jpeg") == 4 for a in shown)

            first = suspended()
            form = _read(client, first, "schema")
            assert set(form["properties"]) == {"decision", "by", "note", "shots", "shards", "settings"}
            assert form["properties"]["decision"]["enum"] == ["approve", "reject"]
            assert TITLE in _read(client, first, "description")

            # Another night neither asks anew nor does anything.
            again = server.ended(server.start("remaster library/gated-nightly"))
            assert "waits for a person" in again["state"]["message"]
            assert server.children(again["id"]) == [] and len(asked()) == 1

            resume(first, decision="reject", by="ann", note="black", shots=[7])
            second = suspended(_question(first)["response"])
            assert "has shots 0 to 1" in _read(client, second, "description")
            resume(second, decision="reject", by="ann", note="black", shots=[0], settings={"model": "lanzcos"})
            third = suspended(_question(second)["response"])
            assert "did you mean lanczos" in _read(client, third, "description")
            resume(third, decision="approve", by="ann", note="the print is so")
            done = server.ended(first["id"])
    assert done["state"]["type"] == "COMPLETED", done["state"]
    assert "approved by ann" in done["state"]["message"] and str(gate.master) in done["state"]["message"]
    assert gate.waiting() == []
    assert [review["by"] for review in json.loads(gate.receipt.read_bytes())["reviews"]] == ["ann"]


MARKDOWN = {"any_": ["markdown"]}


def _called(name: str) -> dict[str, Any]:
    return {"name": {"any_": [name]}}


def _question(run: dict[str, Any]) -> dict[str, str]:
    keys: dict[str, str] = run["state"]["state_details"]["run_input_keyset"]
    return keys


def _read(client: httpx.Client, run: dict[str, Any], what: str) -> Any:
    place = f"/flow_runs/{run['id']}/input/{_question(run)[what]}"
    # What is asked follows the state that says so.
    found = until(lambda: (answer := client.get(place)).status_code == 200 and answer).json()
    return json.loads(found) if what == "schema" and isinstance(found, str) else found
