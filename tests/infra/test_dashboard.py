"""Every metric and label that the dashboard asks for is exported: by a real run on a real cluster, and a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tasks.pool import metrics
from tests.clips import Clip, make
from tests.conftest import REPOSITORY, free_port
from tests.faulty import Faults
from tests.infra import INFRA, ROOT

pytestmark = pytest.mark.timeout(580)

DASHBOARD = json.loads((INFRA / "grafana/dashboards/remaster.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
# Ray asks the driver for these; no GPU, none of them.
ON_A_GPU = {"ray_node_gram_used", "ray_node_gram_available", "ray_node_gpus_utilization"}
TOKEN = "token-of-a-test-0123456789abcdef"

Exported = dict[str, dict[str, set[str]]]  # metric: label: values


def selectors(expression: Any, grouped: frozenset[str] = frozenset()) -> Iterator[tuple[Any, frozenset[str]]]:
    """Every metric that a query selects, and the labels it is grouped by."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression, grouped
    elif isinstance(expression, promql_parser.MatrixSelector):
        yield expression.vector_selector, grouped
    elif isinstance(expression, promql_parser.AggregateExpr):
        labels = expression.modifier.labels if expression.modifier else []
        yield from selectors(expression.expr, grouped | frozenset(labels))
    elif isinstance(expression, promql_parser.BinaryExpr):
        yield from selectors(expression.lhs, grouped)
        yield from selectors(expression.rhs, grouped)
    elif isinstance(expression, promql_parser.Call):
        for argument in expression.args:
            yield from selectors(argument, grouped)
    elif isinstance(expression, promql_parser.ParenExpr):
        yield from selectors(expression.expr, grouped)
    else:
        assert isinstance(expression, promql_parser.NumberLiteral), type(expression)


def asked() -> dict[str, set[str]]:
    """Labels by metric, of all queries."""
    found: dict[str, set[str]] = defaultdict(set)
    for query in QUERIES:
        for selector, grouped in selectors(promql_parser.parse(query)):
            found[selector.name] |= grouped | {matcher.name for matcher in selector.matchers.matchers}
    return found


class Scraper(threading.Thread):
    """Does what Prometheus does: asks every second, as long as it is not told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.seen, self.over = url, defaultdict(lambda: defaultdict(set)), threading.Event()

    def run(self) -> None:
        while not self.over.wait(1.0):
            self.look()

    def look(self) -> None:
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = self.seen[sample.name]
                for label, value in sample.labels.items():
                    labels[label].add(value)


@pytest.fixture(scope="module")
def ray_exports(remaster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What a cluster with a token exports while a run on it makes, finds and loses shards."""
    folder = tmp_path_factory.mktemp("run")
    make(folder / "library/film.mkv", Clip(frames=50))
    make(folder / "library/other.mkv", Clip(frames=200, width=160))  # seconds of work: figures are sent every second
    faults = Faults(folder / "faults")
    env = faults.env(remaster_env) | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    env["RAY_metrics_report_interval_ms"] = "1000"
    faults.happen("kill", 20)
    port, exported = free_port(), free_port()
    head = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--port", str(port), "--num-cpus", "2"]
    head += ["--node-ip-address", "127.0.0.1", "--metrics-export-port", str(exported), "--include-dashboard", "false"]
    head += ["--object-store-memory", str(100 << 20), "--temp-dir", f"/tmp/remaster-ray-{port}", "--block"]
    head += ["--min-worker-port", "0", "--max-worker-port", "0"]
    log = folder / "ray.log"
    with log.open("wb") as out:
        ray = subprocess.Popen(head, env=env, stdout=out, stderr=out, start_new_session=True)
    scraper = Scraper(f"http://127.0.0.1:{exported}/metrics")
    scraper.start()
    try:
        deadline = time.monotonic() + 90
        while "--block" not in log.read_text(errors="replace"):
            assert ray.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.2)
        settings = ["--model", "faulty", "--scale", "2", "--set", "shards.frames=10", "--set", "shards.cut_score=100"]
        settings += ["--set", "retry.delay=0.1", "--set", "retry.quarantine=hold", "--set", "master.preset=ultrafast"]
        command = [sys.executable, "-m", "flows.cli", "run", folder / "library", folder / "out", *settings]
        command += ["--ray-address", f"127.0.0.1:{port}", "--workers", "1"]
        stranger = {**env, "RAY_AUTH_TOKEN": "of-somebody-else"}
        refused = subprocess.run(command, env=stranger, cwd=REPOSITORY, capture_output=True, timeout=280, check=False)
        assert refused.returncode not in (0, 3), "a wrong token was let in"
        for expected in (3, 3):  # the second one finds what the first one made
            run = subprocess.run(command, env=env, cwd=REPOSITORY, capture_output=True, timeout=280, check=False)
            assert run.returncode == expected, run.stderr.decode()
        time.sleep(3)
        scraper.look()
    finally:
        scraper.over.set()
        ray.terminate()
        ray.wait(30)
    return scraper.seen


@pytest.fixture(scope="module")
def store_exports(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What the object store of compose.yaml exports once something is in it."""
    folder = tmp_path_factory.mktemp("store")
    port = free_port()
    ports = {"port": port, "exported": free_port(), "master": free_port(), "volume": free_port(), "filer": free_port()}
    grpc = [f"-{part}.port.grpc={free_port()}" for part in ("master", "volume", "filer", "s3")]
    command = [str(Path(sys.executable).with_name("weed")), "-logtostderr=true", "server", f"-dir={folder}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.max=4", "-filer", "-s3"]
    command += ["-volume.preStopSeconds=0", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={port}", *grpc]
    command += [f"-{part}.port={ports[part]}" for part in ("master", "volume", "filer")]
    command += [f"-metricsPort={ports['exported']}", "-metricsIp=127.0.0.1"]
    identity = {"AWS_ACCESS_KEY_ID": "key-of-a-test", "AWS_SECRET_ACCESS_KEY": "secret-of-a-test"}
    env = os.environ | identity | {"GOMEMLIMIT": "400MiB"}
    with (folder / "log").open("wb") as out:
        server = subprocess.Popen(command, env=env, cwd=folder, stdout=out, stderr=out, start_new_session=True)
    scraper = Scraper(f"http://127.0.0.1:{ports['exported']}/metrics")
    fill = "import s3fs; fs = s3fs.S3FileSystem(); fs.makedirs('work', exist_ok=True); fs.pipe('work/a', b'a' * 1000)"
    reach = env | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
    try:
        deadline = time.monotonic() + 120
        while subprocess.run([sys.executable, "-c", fill], env=reach, capture_output=True, check=False).returncode:
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text(errors="replace")
            time.sleep(1)
        while "SeaweedFS_volumeServer_total_disk_size" not in scraper.seen and time.monotonic() < deadline:
            scraper.look()
            time.sleep(1)
    finally:
        server.kill()
        server.wait(20)
    return scraper.seen


def test_every_query_is_one_and_asks_for_known_metrics_only() -> None:
    ours = {f"ray_{name}_total" for name in metrics.COUNTERS} | {f"ray_{name}" for name in metrics.GAUGES}
    assert {name for name in asked() if name.startswith("ray_remaster_")} == ours


@pytest.mark.slow
def test_a_real_run_exports_what_the_dashboard_asks_for(ray_exports: Exported) -> None:
    for name, labels in asked().items():
        if name.startswith("ray_") and name not in ON_A_GPU:
            assert name in ray_exports, f"{name} is not exported"
            assert labels <= set(ray_exports[name]), f"{name} has no {labels - set(ray_exports[name])}"


@pytest.mark.slow
def test_the_run_was_seen_to_make_find_and_lose_shards(ray_exports: Exported) -> None:
    assert ray_exports["ray_remaster_shards_total"]["outcome"] == {"done", "cached"}
    assert ray_exports["ray_remaster_shards_total"]["rung"] == {"0"}
    assert {"WorkerLost", "Quarantined"} <= ray_exports["ray_remaster_failures_total"]["error"]
    assert ray_exports["ray_remaster_busy_seconds_total"]["stage"] == {"decode", "model", "write"}
    assert ray_exports["ray_remaster_workers"]["state"] == {"busy", "idle"}
    assert ray_exports["ray_remaster_frames_total"]["device"] == {"cpu"}


def test_the_object_store_exports_what_the_dashboard_asks_for(store_exports: Exported) -> None:
    names = {name for name in asked() if not name.startswith("ray_")}
    assert names
    assert names <= set(store_exports)


def test_this_ray_exports_the_gpu_figures_with_these_labels() -> None:
    from ray.dashboard.consts import GPU_TAG_KEYS
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    assert set(asked()) >= ON_A_GPU
    for name in ON_A_GPU:
        assert name.removeprefix("ray_") in METRICS_GAUGES
        assert asked()[name] <= set(GPU_TAG_KEYS)


def test_panels_say_what_they_show_and_lie_beside_one_another() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] in (INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text()
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not mine & cells, panel["title"]
        assert max(x for x, _ in mine) < 24
        cells |= mine


def test_every_panel_is_in_the_document() -> None:
    text = (ROOT / "docs/cluster.md").read_text()
    section = text[text.index("## What the dashboard says") :].split("\n## ", 1)[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")][1:]
    assert rows == [panel["title"] for panel in DASHBOARD["panels"]]
