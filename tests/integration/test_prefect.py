"""What an operator sees in Prefect: runs and tasks by name, cached shards, artifacts, honest final states."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import surfaces
from flows.library import remaster_library
from flows.operations import remaster_clean, remaster_preview, remaster_rerun
from flows.progress import Progress
from flows.results import results_block
from flows.review import remaster_review
from flows.run import Outcome
from flows.title import remaster_title
from flows.watchdog import NAME, SILENT_NAME, TITLE_NAME, watch
from tests.clips import Clip, make
from tests.conftest import PREFECT_PATIENCE, REPOSITORY, Remaster
from tests.contract import assert_keeps
from tests.feed import events

FAST = ("--scale", "2", "--set", "master.preset=ultrafast", "--set", "shards.frames=10", "--set", "retry.delay=0.1")


class Server:
    """Just enough of Prefect's REST API to look."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def find(self, kind: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.post(f"/{kind}/filter", json=query).raise_for_status().json()
        return found

    def library_run(self, run_id: str) -> dict[str, Any]:
        (found,) = self.find("flow_runs", flow_runs={"name": {"any_": [run_id]}})
        return found

    def flows_of(self, flow_run: dict[str, Any]) -> list[str]:
        """Ids of a library's flow run and of its titles'."""
        children = self.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [flow_run["id"]]}})
        return [flow_run["id"], *(child["id"] for child in children)]

    def tasks_below(self, flow_run: dict[str, Any]) -> list[dict[str, Any]]:
        """Task runs of a library's flow and of its titles' flows."""
        return self.find("task_runs", flow_runs={"id": {"any_": self.flows_of(flow_run)}})

    def artifacts_of(self, run_id: str) -> dict[str, dict[str, Any]]:
        """By key; of this run alone, as other tests leave theirs on the same server."""
        flows = self.flows_of(self.library_run(run_id))
        return {a["key"]: a for a in self.find("artifacts", artifacts={"flow_run_id": {"any_": flows}})}


@pytest.fixture(scope="module")
def server(prefect_api: str) -> Iterator[Server]:
    with httpx.Client(base_url=prefect_api, timeout=PREFECT_PATIENCE) as client:
        yield Server(client)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    make(root / "dog.mp4", Clip(frames=25))
    return root


@pytest.fixture(scope="module")
def runs(library: Path, remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Ids of a first run and of the same run again."""
    output = tmp_path_factory.mktemp("masters")
    ids = []
    for _ in range(2):
        result = remaster("run", library, output, *FAST)
        assert result.returncode == 0, result.stderr
        ids.append(next(line.split()[1] for line in result.stdout.splitlines() if line.startswith("run:")))
    return ids[0], ids[1]


def test_a_person_finds_every_task_by_its_name(server: Server, runs: tuple[str, str], library: Path) -> None:
    run = server.library_run(runs[0])
    assert run["state"]["type"] == "COMPLETED"
    names = {task["name"] for task in server.tasks_below(run)}
    assert {f"shard dog.mp4 [{a},{b})" for a, b in ((0, 9), (9, 17), (17, 25))} <= names
    assert {f"scan {library}", "plan dog.mp4", "finish dog.mp4", "check dog.mp4", "report"} <= names


def test_what_a_worker_logs_is_in_the_log_of_its_shard(server: Server, runs: tuple[str, str]) -> None:
    shards = {t["id"]: t["name"] for t in server.tasks_below(server.library_run(runs[0])) if t["name"][:6] == "shard "}
    lines = server.find("logs", logs={"task_run_id": {"any_": list(shards)}}, limit=200)
    for id, name in shards.items():
        told = [line["message"] for line in lines if line["task_run_id"] == id]
        assert any(f":cpu: {name}: " in words and "pictures" in words for words in told), told


def test_a_title_is_a_flow_of_its_own(server: Server, runs: tuple[str, str]) -> None:
    run = server.library_run(runs[0])
    (title,) = server.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run["id"]]}})
    assert title["name"] == "dog.mp4"
    assert title["parameters"]["name"] == "dog.mp4"
    assert title["parameters"]["run"]["id"] == runs[0]


def test_the_second_run_shows_cached_shards_and_a_cached_master(server: Server, runs: tuple[str, str]) -> None:
    states = {task["name"]: task["state"]["name"] for task in server.tasks_below(server.library_run(runs[1]))}
    shards = [state for name, state in states.items() if name.startswith("shard ")]
    assert shards == ["Cached"] * 3
    assert states["finish dog.mp4"] == "Cached"


def test_progress_table_check_and_picture_are_artifacts(server: Server, runs: tuple[str, str]) -> None:
    artifacts = server.artifacts_of(runs[0])
    table = artifacts[f"run-{runs[0]}"]
    assert table["type"] == "table"
    (row,) = json.loads(table["data"])
    assert (row["title"], row["state"], row["frames"]) == ("dog.mp4", "done", 25)
    assert (row["shards made"], row["shards cached"]) == (3, 0)
    again = json.loads(server.artifacts_of(runs[1])[f"run-{runs[1]}"]["data"])[0]
    assert (again["shards made"], again["shards cached"]) == (0, 3)
    total = artifacts[f"run-{runs[0]}-progress"]
    assert total["data"] == 100.0
    assert total["description"].startswith("1/1 titles  25 frames")
    assert total["flow_run_id"] == server.library_run(runs[0])["id"]
    links = artifacts[f"run-{runs[0]}-links"]
    assert links["type"] == "markdown"
    for shown in (f"/runs/{runs[0]}/report.html`", f"dog.mp4: `{row['master']}`"):
        assert shown in links["data"]
    kinds = {key.split("-")[0]: a for key, a in artifacts.items() if a["description"] and "dog.mp4" in a["description"]}
    assert kinds["progress"]["type"] == "progress"
    assert kinds["progress"]["data"] == 100.0
    assert kinds["check"]["type"] == "markdown"
    assert "**no**" not in kinds["check"]["data"]
    picture = kinds["preview"]["data"]
    assert kinds["preview"]["type"] == "image"
    assert base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))[:3] == b"\xff\xd8\xff"


def test_progress_moves(server: Server, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> tuple[float, str]:
        found = server.find("artifacts", artifacts={"key": {"any_": ["progress-moving"]}})
        assert len(found) <= 1
        return (found[0]["data"], found[0]["description"]) if found else (-1.0, "")

    def wait_for(percent: float, words: str) -> None:
        deadline = time.monotonic() + 60
        while shown()[0] != percent or words not in shown()[1]:
            assert time.monotonic() < deadline, shown()
            time.sleep(0.05)

    monkeypatch.setattr(surfaces, "_EVERY", 0.05)
    progress = Progress()
    progress.start("film.mkv", 40)
    with temporary_settings({PREFECT_API_URL: prefect_api}), surfaces.board() as board:
        board.follow("progress-moving", lambda: progress.title("film.mkv"))
        wait_for(0.0, "film.mkv: 0/40 frames")
        for shard, percent in enumerate((25.0, 50.0, 75.0, 100.0)):
            progress.advance("film.mkv", shard, 10)
            wait_for(percent, f"{10 * shard + 10}/40 frames")
        progress.phase("film.mkv", "checking")
        wait_for(100.0, "film.mkv: checking")
        progress.end(Outcome(title="film.mkv", state="held", reason="film.mkv: a person is to look"))
    assert shown() == (100.0, "film.mkv: held, a person is to look")


def test_what_happened_is_in_the_feed_by_names_that_last(
    prefect_api: str, runs: tuple[str, str], library: Path
) -> None:
    finished = events(prefect_api, "remaster.title.finished", 2, resource={"id": [f"remaster.title.{library}/dog.mp4"]})
    by_run = {event["payload"]["run"]: event for event in finished}
    assert set(by_run) == set(runs)
    for run in runs:
        event = by_run[run]
        assert event["resource"]["remaster.state"] == event["payload"]["state"] == "done"
        assert event["payload"]["master"].endswith("/dog.mp4")
        related = {r["prefect.resource.role"]: r["prefect.resource.name"] for r in event["related"]}
        assert (related["flow"], related["flow-run"]) == ("remaster title", "dog.mp4")
    ended = events(prefect_api, "remaster.run.finished", 2, resource={"id": [f"remaster.library.{library}"]})
    assert {event["payload"]["run"] for event in ended} == set(runs)
    assert {event["payload"]["message"] for event in ended} == {"1 of 1 titles done"}


def test_the_master_is_an_asset_that_comes_from_its_source(
    prefect_api: str, runs: tuple[str, str], library: Path
) -> None:
    # Once: the second run made nothing.
    (made,) = events(
        prefect_api, "prefect.asset.materialization.succeeded", 1, related={"id": [f"file://{library}/dog.mp4"]}
    )
    resource, related = made["resource"], {each["prefect.resource.role"]: each for each in made["related"]}
    master = Path(made["resource"]["prefect.asset.url"].removeprefix("file://"))
    assert resource["prefect.resource.id"] == f"file://{master}"
    assert resource["prefect.resource.name"] == "dog.mp4"
    assert related["asset"]["prefect.resource.id"] == f"file://{library}/dog.mp4"
    assert related["asset-materialized-by"]["prefect.resource.id"] == "remaster"
    assert made["payload"]["sha256"] == hashlib.sha256(master.read_bytes()).hexdigest()
    assert made["payload"]["frames"] == 25
    assert made["payload"]["run"] == runs[0]


def test_a_titles_flow_runs_alone_in_another_process(
    server: Server, runs: tuple[str, str], library: Path, remaster_env: dict[str, str], tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "from flows.run import Run\n"
        "from flows.title import remaster_title\n"
        "from tasks.profile import read_profile\n"
        "library, out = sys.argv[1:]\n"
        "run = Run(id='alone', library=library, output=out, store=out + '/.remaster',\n"
        "          profile=read_profile(None, {'scale': 2, 'master.preset': 'ultrafast'}))\n"
        "state = remaster_title(run, 'dog.mp4', return_state=True)\n"
        "print(state.type.value, state.message)\n"
    )
    command = [sys.executable, "-c", program, str(library), str(tmp_path)]
    done = subprocess.run(command, env=remaster_env, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("COMPLETED"), done.stdout + done.stderr
    assert_keeps(library / "dog.mp4", tmp_path / "dog.mp4", 2)


def test_a_lasting_server_is_told_once_to_notice_runs_whose_process_died(
    server: Server, runs: tuple[str, str], prefect_api: str
) -> None:
    """The runs told it already; that a killed one is then marked as crashed, `tests/faults` shows."""
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        watch()
    flows = (remaster_clean, remaster_library, remaster_preview, remaster_rerun, remaster_review, remaster_title)
    for name, watched in ((NAME, flows), (SILENT_NAME, flows), (TITLE_NAME, (remaster_title,))):
        (automation,) = server.find("automations", automations={"name": {"any_": [name]}})
        assert automation["enabled"]
        wanted = automation["trigger"]["match_related"]["prefect.resource.name"]
        assert {flow.name for flow in flows if fnmatch(flow.name, wanted)} == {flow.name for flow in watched}


def test_both_flows_can_be_deployed_with_plain_parameters() -> None:
    for flow, wanted in ((remaster_library, {"run"}), (remaster_title, {"run", "name"})):
        deployment = flow.to_deployment(name="nightly")
        schema = deployment._parameter_openapi_schema
        assert set(schema.properties) == wanted
        assert "Profile" in str(schema.model_dump())


def test_every_store_has_results_of_its_own_whatever_it_is_called(prefect_api: str) -> None:
    """Prefect's blocks are named with ASCII letters, digits and dashes."""
    long = ("s3://films/" + "a" * 90, "/" + "a" * 97)
    roots = ["/films/Jörg", "/films/a b", "/films/a-b", "/films/映画", "/films/дом", *long]
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        first, again = ([results_block(root)._block_document_id for root in roots] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(roots)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_runs_that_begin_together_all_find_a_server(remaster_env: dict[str, str], tmp_path: Path) -> None:
    """Each has its own, over a home in which there are no tables yet; and a proxy that does not know this machine."""
    code = "from flows.server import prefect_server\nwith prefect_server(): print('up')"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    env = remaster_env | proxies | {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": "", "no_proxy": ""}
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=pipe, stderr=pipe) for _ in range(3)]
    ended = [process.communicate(timeout=350) for process in started]
    assert [said for said, _ in ended] == [b"up\n"] * 3, [wrong for _, wrong in ended]
