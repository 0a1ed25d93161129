"""A real cluster of three machines, with Prefect on PostgreSQL, an S3 store and tokens: it loses both workers.

The machines are network namespaces with addresses of their own, and what they run is what compose.yaml runs.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clips import Clip, make
from tests.conftest import REPOSITORY
from tests.infra.machines import HUB, Machines
from tests.needs import lacking

pytestmark = pytest.mark.timeout(1500)

TITLES, FRAMES, LENGTH = 20, 10, 240
BUCKETS = ("library", "out", "out-work", "by-1", "by-1-work", "by-2", "by-2-work")
BIN = Path(sys.executable).parent
SETTINGS = ("--model", "lanczos", "--scale", "4", "--set", f"shards.frames={FRAMES}", "--set", "shards.cut_score=100")
SETTINGS += ("--set", "master.codec=h264", "--set", "master.preset=ultrafast", "--set", "retry.delay=1")


_LEDGER = """
import io, json, pyarrow.parquet as pq, s3fs
store = s3fs.S3FileSystem()
for file in store.glob("{place}/runs/*/ledger.parquet/*"):
    # In one thread: Arrow's own may end a short process with SIGABRT (`tasks.tables`).
    table = pq.ParquetFile(io.BytesIO(store.cat(file)), pre_buffer=False).read(use_threads=False)
    for row in table.to_pylist():
        print(json.dumps({{name: row[name] for name in ("outcome", "error", "worker")}}), flush=True)
"""


@dataclass
class Cluster:
    machines: Machines
    env: dict[str, str]
    folder: Path
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def node(self, name: str) -> subprocess.Popen[bytes]:
        """A Ray node with room for one worker, started again whenever it ends, as containers are."""
        if name in self.nodes:
            return self.nodes[name]
        address = self.machines.addresses[name]
        start = f"{BIN}/ray start --address={HUB}:6379 --node-ip-address={address} --num-cpus=1 --block"
        start += f" --object-store-memory={100 << 20}"
        loop = f"while true; do {start}; sleep 2; done"
        self.nodes[name] = self.machines.start(name, f"node-{name}", ["sh", "-c", loop], self.env)
        joined = f"import ray; ray.init('{HUB}:6379', log_to_driver=False); assert '{address}' in str(ray.nodes())"
        self.machines.until("hub", [sys.executable, "-c", joined], self.env)
        return self.nodes[name]

    def run(self, label: str, library: str | Path, output: str, *more: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flows.cli", "run", library, output, "--store", f"{output}-work"]
        return self.machines.start("hub", label, [*command, *SETTINGS, "--ray-address", f"{HUB}:6379", *more], self.env)

    def ask(self, code: str) -> list[str]:
        """Lines that a bit of Python prints on the hub, which alone reaches the store."""
        command = ["ip", "netns", "exec", f"remaster-{os.getpid()}-hub", sys.executable, "-c", code]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.split("\n")[:-1]

    def listing(self, place: str) -> set[str]:
        """Everything below a place of the store."""
        return set(self.ask(f"import s3fs; print(*s3fs.S3FileSystem().find({place!r}), sep='\\n')"))

    def ledger(self, place: str) -> list[dict[str, str]]:
        """Attempts of the runs with this store."""
        return [json.loads(line) for line in self.ask(_LEDGER.format(place=place))]

    def text(self, label: str) -> str:
        return (self.folder / f"{label}.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.geteuid():
        lacking("only root may make network namespaces")
    _postgresql()
    folder = tmp_path_factory.mktemp("cluster")
    folder.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_", "AWS_"))}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "token-of-a-test-0123456789abcdef"}
    env |= {"PREFECT_API_URL": f"http://{HUB}:4200/api", "PREFECT_HOME": str(folder / "prefect")}
    env |= {"AWS_ENDPOINT_URL": f"http://{HUB}:8333", "AWS_REGION": "us-east-1", "GOMEMLIMIT": "400MiB"}
    env |= {"AWS_ACCESS_KEY_ID": "key-of-a-test", "AWS_SECRET_ACCESS_KEY": "secret-of-a-test"}
    env |= {"PYTHONPATH": str(REPOSITORY), "XDG_DATA_HOME": str(folder / "data"), "DO_NOT_TRACK": "1"}
    env |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "PATH": f"{BIN}:{env['PATH']}"}
    with Machines(folder, ("one", "two")) as machines:
        database, url = _database(machines, folder, env)
        server = env | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}
        machines.start("hub", "prefect", [BIN / "prefect", "server", "start", "--host", HUB], server)
        store = [BIN / "weed", "-logtostderr=true", "server", f"-dir={folder}", f"-ip={HUB}", f"-ip.bind={HUB}"]
        store += ["-volume.max=200", "-master.volumeSizeLimitMB=256", "-master.telemetry=false", "-s3"]
        machines.start("hub", "store", [*store, "-s3.port.iceberg=0", "-s3.port.lance=0"], env)
        head = [BIN / "ray", "start", "--head", "--port=6379", f"--node-ip-address={HUB}", "--num-cpus=0", "--block"]
        head += ["--include-dashboard=false", f"--object-store-memory={100 << 20}", f"--temp-dir=/tmp/rc-{os.getpid()}"]
        machines.start("hub", "head", head, env)
        healthy = [sys.executable, REPOSITORY / "infra/docker/healthy.py"]
        machines.until("hub", healthy, env | {"RAY_ADDRESS": f"{HUB}:6379"})
        buckets = f"import s3fs; [s3fs.S3FileSystem().makedirs(name, exist_ok=True) for name in {BUCKETS}]"
        machines.until("hub", [sys.executable, "-c", buckets], env)
        yield Cluster(machines, env, folder)
        machines.stop(database, signal.SIGINT)


def _database(machines: Machines, folder: Path, env: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """PostgreSQL, which does not run as root; and its URL."""
    nobody = pwd.getpwnam("nobody")
    data = folder / "postgres"
    data.mkdir()
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    for path in [data, *data.parents][:4]:  # pytest's folders are for their owner only
        path.chmod(path.stat().st_mode | 0o055)
    become = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    programs = _postgresql()
    made = [*become, programs / "initdb", "--pgdata", data / "db", "--username=prefect", "--auth=trust", "--no-sync"]
    machines.until("hub", made, env, 60)
    command = [*become, programs / "postgres", "-D", data / "db", "-k", data, "-h", "127.0.0.1", "-c", "fsync=off"]
    process = machines.start("hub", "postgres", command, env)
    machines.until("hub", [programs / "createdb", "-h", "127.0.0.1", "-U", "prefect", "prefect"], env)
    return process, "postgresql+asyncpg://prefect@127.0.0.1:5432/prefect"


def _postgresql() -> Path:
    """Where its programs are, which Debian keeps off the PATH."""
    found = shutil.which("pg_ctl")
    places = [Path(os.path.realpath(found)).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else lacking("no PostgreSQL is installed")


def test_two_machines_share_the_work_that_one_would_do(cluster: Cluster) -> None:
    """How much sooner they end is printed and no more: here they share the cores of one machine."""
    make(cluster.folder / "long/film.mkv", Clip(frames=LENGTH, width=320, height=180))
    seconds = {}
    for workers, name in enumerate(("one", "two"), 1):
        cluster.node(name)
        began = time.monotonic()
        run = cluster.run(f"by-{workers}", cluster.folder / "long", f"s3://by-{workers}", "--workers", workers)
        assert run.wait(400) == 0, cluster.text(f"by-{workers}")[-3000:]
        seconds[workers] = time.monotonic() - began
        made = Counter(row["worker"] for row in cluster.ledger(f"by-{workers}-work") if row["outcome"] == "done")
        assert len(made) == workers
        assert min(made.values()) >= LENGTH // FRAMES // 4, made
    print({workers: f"{LENGTH / taken:.1f} frames a second" for workers, taken in seconds.items()}, made)


def test_a_library_ends_right_though_one_worker_is_cut_off_and_the_other_killed(cluster: Cluster) -> None:
    for number in range(TITLES):
        make(cluster.folder / f"library/film{number:02}.mkv", Clip(frames=60, width=160 + 8 * number, height=120))
    cluster.ask(f"import s3fs; s3fs.S3FileSystem().put({str(cluster.folder / 'library')!r}, 's3://', recursive=True)")
    _, two = cluster.node("one"), cluster.node("two")
    run = cluster.run("run", "s3://library", "s3://out", "--workers", "2")
    deadline = time.monotonic() + 900

    def wait_for(shards: int) -> None:
        while sum("/records/" in path for path in cluster.listing("out-work")) < shards:
            assert run.poll() is None and time.monotonic() < deadline, cluster.text("run")[-3000:]

    wait_for(8)
    cluster.machines.cut("one")
    cut = time.monotonic()
    wait_for(16)  # by the other alone
    # With nobody left the run cannot end, however fast the machine, before the first one is given up and comes back.
    cluster.machines.stop(two, signal.SIGKILL)
    time.sleep(max(0.0, 60 - (time.monotonic() - cut)))
    assert run.poll() is None, cluster.text("run")[-3000:]
    cluster.machines.mend("one")
    run.wait(deadline - time.monotonic())
    assert run.returncode == 0, cluster.text("run")[-4000:]
    assert {f"out/film{n:02}.mkv" for n in range(TITLES)} == {p for p in cluster.listing("out") if p.endswith(".mkv")}
    cluster.machines.until("hub", [sys.executable, "-m", "flows.cli", "verify", "s3://out"], cluster.env, 60)
    ledger = cluster.ledger("out-work")
    ended = Counter(row["outcome"] for row in ledger)
    assert ended["done"] + ended["cached"] == TITLES * 60 // FRAMES
    assert ended["cached"] <= 2, "the one shard in hand of each may have been done, and no word of it come through"
    failed = {row["error"] for row in ledger if row["outcome"] == "failed"}
    # Who is cut off while it writes may come back in time to say that the store did not answer.
    assert failed and failed <= {"WorkerLost", "StoreError"}
    workers = {row["worker"] for row in ledger if row["outcome"] == "done"}
    assert len(workers) >= 3, "two that were lost, and one at least that came back"
    print(Counter(row["error"] or row["outcome"] for row in ledger), len(workers), "workers")
