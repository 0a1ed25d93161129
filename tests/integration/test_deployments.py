"""A library's flows as a real Prefect server has them: the form, the schedule, who runs when, and what a night does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.automations import ready
from flows.cli import main
from flows.deployments import deployments, for_pool
from flows.request import Request
from flows.run import Run
from tasks.profile import Profile, read_profile, setting_names
from tests.clips import Clip, make
from tests.conftest import PREFECT_PATIENCE, REPOSITORY, Remaster, prefect_server_at
from tests.feed import events

FAST = ("--scale", "2", "--set", "master.preset=ultrafast", "--set", "retry.delay=0.1", "--workers", "1")
PATIENCE = 240.0


class Server:
    """Just enough of Prefect's REST API to start runs and to look."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _ask(self, method: str, place: str, **body: Any) -> httpx.Response:
        """Its answer; asked again while its database is busy (503), as Prefect's own client does it."""
        deadline = time.monotonic() + PATIENCE
        while (answer := self._client.request(method, place, **body)).status_code == 503:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.3)
        return answer.raise_for_status()

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"/deployments/name/{name}").json()
        return found

    def start(self, name: str, parameters: dict[str, Any] | None = None) -> str:
        """Id of the new flow run; httpx.HTTPStatusError if the server does not take the parameters."""
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters or {}}
        place = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return str(self._ask("POST", place, json=body).json()["id"])

    def flow_run(self, flow_run: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"/flow_runs/{flow_run}").json()
        return found

    def find(self, kind: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("POST", f"/{kind}/filter", json=query).json()
        return found

    def children(self, flow_run: str) -> list[str]:
        query = {"parent_flow_run_id": {"any_": [flow_run]}}
        return sorted(child["name"] for child in self.find("flow_runs", flow_runs=query))

    def below(self, flow_run: str) -> list[str]:
        """Ids of the flow runs that are part of one, and of those that are part of them."""
        direct = self.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [flow_run]}})
        return [each for child in direct for each in (child["id"], *self.below(child["id"]))]

    def ended(self, flow_run: str) -> dict[str, Any]:
        """The flow run once it has ended."""
        try:
            return until(lambda: (run := self.flow_run(flow_run))["end_time"] and run)
        except AssertionError as error:
            raise AssertionError(f"it did not end: {self.history(flow_run)}") from error

    def history(self, flow_run: str) -> list[str]:
        """Names of the states it was in, in their order."""
        states = self._ask("GET", "/flow_run_states/", params={"flow_run_id": flow_run}).json()
        return [state["name"] for state in sorted(states, key=lambda state: str(state["timestamp"]))]

    def set_state(self, flow_run: str, kind: str, name: str) -> None:
        body = {"state": {"type": kind, "name": name, "message": "its machine is gone"}, "force": True}
        self._ask("POST", f"/flow_runs/{flow_run}/set_state", json=body)

    def make_pool(self, name: str) -> None:
        self._client.post("/work_pools/", json={"name": name, "type": "process"})


def until(look: Callable[[], Any]) -> Any:
    """What is seen, once something is."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.3)
    return seen


@pytest.fixture(scope="module")
def server(prefect_api: str) -> Iterator[Server]:
    with (
        httpx.Client(base_url=prefect_api, timeout=PREFECT_PATIENCE) as client,
        temporary_settings({PREFECT_API_URL: prefect_api}),
    ):
        yield Server(client)


@pytest.fixture(scope="module")
def reacting_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that evaluates automations, which the session's does not."""
    with prefect_server_at(tmp_path_factory.mktemp("reacting")) as url:
        yield url


@pytest.fixture
def reacting(reacting_api: str) -> Iterator[Server]:
    settings = temporary_settings({PREFECT_API_URL: reacting_api})
    with httpx.Client(base_url=reacting_api, timeout=PREFECT_PATIENCE) as client, settings:
        yield Server(client)


@contextmanager
def running(command: list[object], env: dict[str, str], log: Path, says: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts, begun when its output has `says`; ended as Ctrl-C ends it."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), env=env, cwd=REPOSITORY, stdout=file, stderr=file, start_new_session=True
        )
    try:
        until(lambda: says in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process
        assert process.poll() is None, log.read_text()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def command(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "flows.cli", *arguments]


def test_the_form_has_the_words_ranges_and_defaults_of_the_models(server: Server) -> None:
    run = Run(
        library="/nowhere/form", output="/nowhere/out", profile=read_profile("archive", {"scale": 2}), settle=60.0
    )
    server.make_pool("forms")
    for _ in range(2):  # as often as one likes
        for deployment in deployments(run, "0 2 * * *", "Europe/Berlin"):
            for_pool(deployment, "forms").apply()
    nightly = server.deployment("remaster library/form-nightly")
    (schedule,) = nightly["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "Europe/Berlin")
    assert schedule["active"]
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert nightly["tags"] == ["remaster", "form", "nightly"]
    assert nightly["parameters"]["run"]["profile"]["master"]["codec"] == "ffv1"
    definitions = nightly["parameter_openapi_schema"]["definitions"]
    assert set(definitions["Run"]["properties"]) == {*Request.model_fields, "profile"}
    sections = {"": Profile, **{name: info.annotation for name, info in Profile.model_fields.items()}}
    for setting in setting_names():
        section, _, name = setting.rpartition(".")
        model = sections[section]
        shown, meant = definitions[model.__name__]["properties"][name], model.model_json_schema()["properties"][name]
        assert shown["description"] == meant["description"], setting
        for key in ("default", "minimum", "maximum", "exclusiveMinimum", "enum", "multipleOf", "anyOf"):
            assert shown.get(key) == meant.get(key), (setting, key)
    assert server.deployment("remaster library/form-title")["schedules"] == []
    preview = server.deployment("remaster preview/form-preview")
    assert preview["parameters"]["preview"] == {"store": run.store}
    assert preview["parameters"]["profile"]["master"]["codec"] == "ffv1"
    assert preview["parameter_openapi_schema"]["definitions"]["Preview"]["properties"]["seconds"]["maximum"] == 60
    assert server.deployment("remaster rerun/form-rerun")["parameters"] == {"rerun": {"store": run.store}}
    assert server.deployment("remaster clean/form-clean")["parameters"] == {"cleaning": {"store": run.store}}
    review = server.deployment("remaster review/form-review")["parameters"]
    assert review == {"review": {"store": run.store, "output": run.output}}


def test_what_is_out_of_range_is_refused_by_the_server(server: Server) -> None:
    run = Run(library="/nowhere/range", output="/nowhere/out", profile=Profile())
    server.make_pool("forms")
    nightly = for_pool(deployments(run, "", "UTC")[0], "forms")
    nightly.apply()
    asked = nightly.parameters["run"]
    for wrong in ({"settle": -1}, {"workers": "many"}, {"profile": {"scale": 5}}, {"profile": {"no such": 1}}):
        with pytest.raises(httpx.HTTPStatusError):
            server.start("remaster library/range-nightly", {"run": asked | wrong})


@pytest.fixture
def told() -> Iterator[tuple[str, list[str]]]:
    """URL of somebody who wants to be told, and what was said."""
    said: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}/", said
        listening.shutdown()


@pytest.mark.slow
def test_a_run_that_crashed_goes_on_once_and_somebody_is_told(
    reacting: Server, reacting_api: str, told: tuple[str, list[str]]
) -> None:
    server, (url, said) = reacting, told
    CustomWebhookNotificationBlock(name="ops", url=url, json_data={"text": "{{subject}}: {{body}}"}).save("ops")
    for _ in range(2):  # as often as one likes
        made = ready("custom-webhook/ops")
    names = [automation.name for automation in made]
    assert sorted(a["name"] for a in server.find("automations", automations={"name": {"any_": names}})) == sorted(names)
    server.make_pool("crashes")
    run = Run(library="/nowhere/crashed", output="/nowhere/out", profile=Profile())
    for_pool(deployments(run, "", "UTC")[0], "crashes").apply()
    flow_run = server.start("remaster library/crashed-nightly")
    server.set_state(flow_run, "RUNNING", "Running")
    server.set_state(flow_run, "CRASHED", "Crashed")
    until(lambda: server.flow_run(flow_run)["state"]["name"] == "AwaitingRetry")
    server.set_state(flow_run, "RUNNING", "Running")
    server.set_state(flow_run, "CRASHED", "Crashed")
    until(lambda: len(said) >= 2)
    name = server.flow_run(flow_run)["name"]
    assert events(reacting_api, "prefect.flow-run.Crashed", 2, resource={"id": [f"prefect.flow-run.{flow_run}"]})[1:]
    time.sleep(2)  # a second retry would come as the first did, at once
    assert len(said) == 2  # once for each crash
    assert all(f"remaster {name}: Crashed: its machine is gone" in each for each in said)
    assert server.history(flow_run) == ["Scheduled", "Running", "Crashed", "AwaitingRetry", "Running", "Crashed"]


@pytest.mark.slow
def test_somebody_is_told_of_a_night_that_the_budget_ended_and_not_of_one_that_a_person_ended(
    reacting: Server, reacting_api: str, told: tuple[str, list[str]], remaster: Remaster, tmp_path: Path
) -> None:
    server, (url, said) = reacting, told
    CustomWebhookNotificationBlock(name="money", url=url, json_data={"text": "{{subject}}: {{body}}"}).save("money")
    ready("custom-webhook/money")
    server.make_pool("budgets")
    run = Run(library="/nowhere/cancelled", output="/nowhere/out", profile=Profile())
    for_pool(deployments(run, "", "UTC")[0], "budgets").apply()
    cancelled = server.start("remaster library/cancelled-nightly")
    server.set_state(cancelled, "RUNNING", "Running")
    server.set_state(cancelled, "CANCELLED", "Cancelled")
    make(tmp_path / "films" / "film.mp4", Clip(frames=24))
    dear = ("--set", "cost.gpu_hour=1e9", "--set", "cost.budget=0.01", "--set", "cost.over_budget=stop")
    shards = ("--set", "shards.frames=12")
    places = (tmp_path / "films", tmp_path / "out")
    done = remaster("run", *places, *FAST, *shards, *dear, env={"PREFECT_API_URL": reacting_api})
    assert done.returncode == 3, done.stderr
    until(lambda: said)
    time.sleep(2)  # the earlier one would have been told of by now
    (told_of,) = said
    assert "BudgetSpent: The budget is spent" in told_of


def test_automations_are_brought_up_to_date_and_stay_switched_off(server: Server) -> None:
    def block() -> str:
        webhook = CustomWebhookNotificationBlock(name="anew", url="http://127.0.0.1:9/", json_data={"text": "{{body}}"})
        return str(webhook.save("anew"))

    def there() -> dict[str, Any]:
        (found,) = server.find("automations", automations={"name": {"any_": [automation.name]}})
        return found

    first = block()
    automation = ready("custom-webhook/anew")[-1]
    before = there()
    assert before["actions"][0]["block_document_id"] == first
    ready("custom-webhook/anew")
    assert there() == before  # not even touched
    Automation.read(name=automation.name).disable()
    CustomWebhookNotificationBlock.delete("anew")
    second = block()
    ready("custom-webhook/anew")
    after = there()
    assert (after["id"], after["enabled"]) == (before["id"], False)
    assert after["actions"][0]["block_document_id"] == second != first


def test_deploying_needs_a_server_that_lasts_and_a_pool(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "films" / "film.mp4", Clip(frames=5))
    places = (str(tmp_path / "films"), str(tmp_path / "out"))
    server.make_pool("forms")
    assert main(["deploy", *places, "--pool", "no-such-pool"]) == 2
    assert "prefect work-pool create no-such-pool" in capsys.readouterr().err
    for nobody in ("slack-webhook/nobody", "nobody"):
        assert main(["deploy", *places, "--pool", "forms", "--notify", nobody]) == 2
        assert f"--notify {nobody}" in capsys.readouterr().err
    assert main(["deploy", *places, "--pool", "forms", "--cron", "at night"]) == 2
    assert "--cron 'at night'" in capsys.readouterr().err
    assert main(["deploy", *places, "--pool", "forms", "--cron", "0 2 * * *", "--timezone", "Atlantis"]) == 2
    assert "Atlantis" in capsys.readouterr().err
    with temporary_settings({PREFECT_API_URL: ""}):
        assert main(["serve", *places]) == 2
    assert "prefect server start" in capsys.readouterr().err


def test_whose_deployments_are_replaced_is_said(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two folders of one name: the second one's are the first one's no more."""
    server.make_pool("forms")
    for folder in ("mine", "theirs"):
        make(tmp_path / folder / "namesakes" / "film.mp4", Clip(frames=5))
        for again in (False, True):
            places = (str(tmp_path / folder / "namesakes"), str(tmp_path / "out" / folder))
            assert main(["deploy", *places, "--pool", "forms"]) == 0
            said = capsys.readouterr().err
            assert ("namesakes-nightly was of" in said) == (folder == "theirs" and not again)
    assert main(["deploy", *places, "--pool", "forms", "--name", "theirs"]) == 0
    assert "was of" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_night_comes_by_itself(server: Server, remaster_env: dict[str, str], tmp_path: Path) -> None:
    """Served with a night every minute; nobody starts one."""
    library, output = tmp_path / "minutely", tmp_path / "out"
    make(library / "a.mp4", Clip(frames=12))
    serve = command("serve", library, output, *FAST, "--settle", "1", "--cron", "* * * * *")
    with running(serve, remaster_env, tmp_path / "log", "minutely-nightly"):
        night = server.deployment("remaster library/minutely-nightly")["id"]
        done = {"deployment_id": {"any_": [night]}, "state": {"type": {"any_": ["COMPLETED"]}}}
        first = until(lambda: server.find("flow_runs", flow_runs=done, sort="START_TIME_ASC"))[0]
    assert first["auto_scheduled"]
    assert first["expected_start_time"][17:19] == "00"
    assert first["state"]["message"] == "1 of 1 titles done"
    assert (output / "a.mp4").is_file()


@pytest.mark.slow
def test_a_night_does_exactly_what_is_new(server: Server, remaster_env: dict[str, str], tmp_path: Path) -> None:
    """Served from one process: an unchanged library in seconds, of one with three new titles these three."""
    library, output = tmp_path / "served", tmp_path / "out"
    for name in ("a", "b", "c"):
        make(library / f"{name}.mp4", Clip(frames=12))
    night = "remaster library/served-nightly"
    serve = command("serve", library, output, *FAST, "--settle", "1", "--cron", "0 2 * * *", "--timezone", "Asia/Tokyo")
    with running(serve, remaster_env, tmp_path / "log", "served-nightly"):
        first = server.start(night)
        assert server.ended(first)["state"]["message"] == "3 of 3 titles done"
        second = server.start(night)
        unchanged = server.ended(second)
        assert unchanged["state"]["message"] == "3 of 3 titles done, 3 of them before"
        assert server.children(second) == []
        print(f"a night over an unchanged library: {unchanged['total_run_time']:.1f} s")
        assert unchanged["total_run_time"] < 10
        for name in ("d", "e", "season 1/f"):
            make(library / f"{name}.mp4", Clip(frames=12))
        time.sleep(1.5)
        third = server.start(night)
        more = server.ended(third)
        assert more["state"]["message"] == "6 of 6 titles done, 3 of them before"
        assert server.children(third) == ["d.mp4", "e.mp4", "season 1/f.mp4"]
        print(f"a night with three new titles: {more['total_run_time']:.1f} s")
        run = output / ".remaster" / "runs" / more["name"]  # as a person finds it by the name in Prefect
        assert json.loads((run / "verdict.json").read_text())["state"] == "completed"

        asked = server.deployment("remaster library/served-title")["parameters"]["run"] | {"only": "e.mp4"}
        title = server.start("remaster library/served-title", {"run": asked})
        assert server.ended(title)["state"]["message"] == "1 of 1 titles done"
        assert server.children(title) == ["e.mp4"]

        again = server.start(
            "remaster rerun/served-rerun", {"rerun": {"store": str(output / ".remaster"), "run": run.name}}
        )
        assert server.ended(again)["state"]["message"] == "6 of 6 titles done, 6 of them before"

        shown = {"title": str(library / "a.mp4"), "store": str(output / ".remaster"), "models": ["lanczos", "bicubic"]}
        preview = server.start("remaster preview/served-preview", {"preview": shown, "profile": {"scale": 2}})
        page = server.ended(preview)["state"]["message"]
        assert "lanczos" in Path(page).read_text()
        found = until(lambda: server.find("artifacts", artifacts={"flow_run_id": {"any_": [preview]}}))
        assert {artifact["type"] for artifact in found} == {"markdown", "image"}
        # No web server is named that serves it, so there is no link to follow: it says where the page is.
        assert any(page in artifact["data"] for artifact in found)

        clean = server.start("remaster clean/served-clean")
        assert "nothing was removed" in server.ended(clean)["state"]["message"]
        nights = {"id": {"any_": [server.deployment(night)["id"]]}}
        upcoming = server.find("flow_runs", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}}, deployments=nights)
        assert len(upcoming) >= 3 and all(run["auto_scheduled"] for run in upcoming)
    assert server.deployment(night)["paused"]
    with running(serve, remaster_env, tmp_path / "log", "served-nightly"):
        until(lambda: not server.deployment(night)["paused"])
        assert [schedule["active"] for schedule in server.deployment(night)["schedules"]] == [True]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_night_whose_process_is_killed_goes_on_by_itself(
    reacting: Server, reacting_api: str, remaster_env: dict[str, str], tmp_path: Path
) -> None:
    server = reacting
    library, output = tmp_path / "killed", tmp_path / "out"
    make(library / "film.mp4", Clip(frames=120, width=160, height=128))
    serve = command("serve", library, output, *FAST, "--set", "shards.frames=10", "--settle", "0")
    env = remaster_env | {"PREFECT_API_URL": reacting_api}
    with running(serve, env, tmp_path / "log", "killed-nightly") as served:
        night = server.start("remaster library/killed-nightly")
        until(lambda: list((output / ".remaster/records").rglob("*.json")))
        (run,) = children_of(served.pid)
        os.kill(run, signal.SIGKILL)
        until(lambda: server.flow_run(night)["run_count"] == 2)
        ended = server.ended(night)
    history = server.history(night)
    assert ended["state"]["message"] == "1 of 1 titles done", history
    assert history.count("AwaitingRetry") == 1, history
    made = [row["index"] for row in rows(output / ".remaster/runs" / ended["name"]) if row["outcome"] == "done"]
    assert len(made) == len(set(made))


@pytest.mark.slow
def test_two_nights_never_overlap(
    server: Server, remaster_env: dict[str, str], remaster: Remaster, tmp_path: Path
) -> None:
    """For the workers of a pool: the second one waits for the first, and is not lost."""
    library = tmp_path / "pooled"
    make(library / "film.mp4", Clip(frames=60, width=160, height=128))
    server.make_pool("nights")
    result = remaster("deploy", library, tmp_path / "out", *FAST, "--settle", "0", "--pool", "nights")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[0] == "remaster library/pooled-nightly"
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "nights", "--type", "process"]
    with running(worker, remaster_env, tmp_path / "log", "started!"):
        nights = [server.start("remaster library/pooled-nightly") for _ in range(2)]
        waited = until(
            lambda: (
                any(server.flow_run(night)["state"]["name"] == "AwaitingConcurrencySlot" for night in nights)
                or all(server.flow_run(night)["end_time"] for night in nights)
            )
        )
        ended = sorted((server.ended(night) for night in nights), key=lambda run: str(run["start_time"]))
    assert waited
    assert ended[0]["end_time"] <= ended[1]["start_time"]
    assert ended[0]["state"]["message"] == "1 of 1 titles done"
    assert ended[1]["state"]["message"] == "1 of 1 titles done, 1 of them before"


@pytest.mark.slow
def test_served_nights_never_overlap(server: Server, remaster_env: dict[str, str], tmp_path: Path) -> None:
    """For `remaster serve`, and for a second one of the same library, on another machine as it were."""
    library = tmp_path / "alone"
    make(library / "film.mp4", Clip(frames=60, width=160, height=128))
    serve = command("serve", library, tmp_path / "out", *FAST, "--settle", "0")
    with (
        running(serve, remaster_env, tmp_path / "log", "alone-nightly"),
        running(serve, remaster_env, tmp_path / "other log", "alone-nightly"),
    ):
        nights = [server.start("remaster library/alone-nightly") for _ in range(3)]
        ended = sorted((server.ended(night) for night in nights), key=lambda run: str(run["start_time"]))
    assert all(before["end_time"] <= after["start_time"] for before, after in pairwise(ended))
    assert [run["state"]["message"] for run in ended] == [
        "1 of 1 titles done",
        *["1 of 1 titles done, 1 of them before"] * 2,
    ]


@pytest.mark.slow
def test_prefect_s_own_command_takes_the_file(server: Server, remaster_env: dict[str, str], tmp_path: Path) -> None:
    library, output = tmp_path / "library", tmp_path / "out"
    make(library / "film.mp4", Clip(frames=12))
    server.make_pool("by-file")
    env = remaster_env | {
        "REMASTER_POOL": "by-file",
        "REMASTER_LIBRARY": str(library),
        "REMASTER_OUTPUT": str(output),
        "REMASTER_STORE": str(output / ".remaster"),
    }
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    deploy = [*prefect, "deploy", "--all", "--prefect-file", "infra/prefect.yaml"]
    done = subprocess.run(
        deploy, env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nightly = server.deployment("remaster library/library-nightly")
    assert nightly["parameters"]["run"]["library"] == str(library)
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    flow_run = server.start("remaster library/library-title")
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "by-file", "--type", "process"]
    with running(worker, env, tmp_path / "log", "started!"):
        assert server.ended(flow_run)["state"]["message"] == "1 of 1 titles done"
    assert (output / "film.mp4").exists()


@pytest.mark.slow
def test_a_growing_file_is_remastered_once_and_only_when_it_is_whole(
    remaster_env: dict[str, str], tmp_path: Path
) -> None:
    library, output, log = tmp_path / "library", tmp_path / "out", tmp_path / "log"
    make(library / "first.mp4", Clip(frames=12))
    whole = make(tmp_path / "elsewhere" / "slow.mp4", Clip(frames=48)).read_bytes()
    watch = command("watch", library, output, *FAST, "--settle", "3", "--every", "0.5")
    with running(watch, remaster_env, log, "watching"):
        until(lambda: "completed: 1 of 1 titles done\n" in log.read_text())
        step = len(whole) // 12 + 1
        for start in range(0, len(whole), step):
            with (library / "slow.mp4").open("ab") as file:
                file.write(whole[start : start + step])
            time.sleep(1)
            assert "slow.mp4" not in log.read_text()
        until(lambda: "2 of 2 titles done, 1 of them before" in log.read_text())
        os.utime(library / "first.mp4")
        (library / "second.mp4").write_bytes(whole)  # the same film by another name
        until(lambda: "new: first.mp4, second.mp4" in log.read_text() or "3 of 3 titles done" in log.read_text())
        until(lambda: "3 of 3 titles done" in log.read_text())
        time.sleep(5)
    said = log.read_text()
    assert said.count("new: slow.mp4\n") == 1
    assert "refused" not in said
    worked_on = [row for run in (output / ".remaster/runs").iterdir() for row in rows(run) if row["outcome"] == "done"]
    assert sorted(row["title"] for row in worked_on) == ["first.mp4", "slow.mp4"]  # by content, once


def children_of(pid: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return [child for child, parent in parents.items() if parent == pid]


def rows(run: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    ledger = run / "ledger.parquet"
    found: list[dict[str, Any]] = pq.read_table(ledger).to_pylist() if ledger.is_dir() else []
    return found
