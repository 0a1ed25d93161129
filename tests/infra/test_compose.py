"""compose.yaml as Compose itself reads it, and what hangs together with it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra import INFRA, ROOT

FILE = INFRA / "compose.yaml"
TOOLS = Path(sys.executable).parent
PROFILES = ("--profile", "cpu", "--profile", "gpu")


def compose(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What Compose makes of the file; it needs no container engine for that."""
    command = [TOOLS / "docker-compose", "--env-file", os.devnull, "-f", FILE, *PROFILES, "config", "--format", "json"]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Secrets as make-secrets.sh makes them, in a copy of its folder."""
    folder = tmp_path_factory.mktemp("infra")
    (folder / "make-secrets.sh").write_bytes((INFRA / "make-secrets.sh").read_bytes())
    subprocess.run(["sh", folder / "make-secrets.sh"], check=True, capture_output=True, timeout=10)
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    made = dict(line.split("=") for line in (folder / ".env").read_text().splitlines())
    again = subprocess.run(["sh", folder / "make-secrets.sh"], capture_output=True, timeout=10, check=False)
    assert again.returncode == 1
    assert b"there already" in again.stderr
    return made


@pytest.fixture(scope="module")
def services(secrets: dict[str, str]) -> dict[str, Any]:
    read = compose(secrets)
    assert read.returncode == 0, read.stderr
    found: dict[str, Any] = yaml.safe_load(read.stdout)["services"]
    return found


def test_the_secrets_are_long_and_differ(secrets: dict[str, str]) -> None:
    assert all(len(value) == 48 for value in secrets.values())
    assert len(set(secrets.values())) == len(secrets)


def test_it_is_a_compose_file() -> None:
    subprocess.run(
        [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE], check=True, timeout=60
    )


def test_a_secret_that_is_missing_is_said_with_what_makes_it(secrets: dict[str, str]) -> None:
    for name in secrets:
        refused = compose({**secrets, name: ""})
        assert refused.returncode != 0
        assert name in refused.stderr
        assert "run infra/make-secrets.sh" in refused.stderr


def test_nothing_is_to_be_reached_from_other_machines(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port["host_ip"] == "127.0.0.1" for port in ports)


def test_every_image_is_pinned_and_every_service_says_how_it_is(services: dict[str, Any]) -> None:
    for name, service in services.items():
        image, _, tag = service["image"].rpartition(":")
        assert image and tag[0] in "v0123456789" and "." in tag, name
        # Our own images bring a check of their own.
        assert "healthcheck" in service or image == "remaster", name


def test_our_services_may_nothing_but_what_they_do(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if service["image"].startswith("remaster:"):
            assert service["cap_drop"] == ["ALL"], name
            assert "privileged" not in service, name


def test_a_service_waits_for_what_it_names_in_its_environment(services: dict[str, Any]) -> None:
    for name, service in services.items():
        told = " ".join(str(value) for value in service.get("environment", {}).values())
        named = {other for other in services if re.search(rf"(^|[/@ ]){other}:\d", told)}
        waited = set(service.get("depends_on", {}))
        # Buckets are there only once the store is.
        waited |= {"object-store"} if "buckets" in waited else set()
        assert named <= waited | {name}, name


def test_prometheus_asks_services_that_there_are_at_the_port_they_export_at(services: dict[str, Any]) -> None:
    jobs = {
        job["job_name"]: job
        for job in yaml.safe_load((INFRA / "prometheus/prometheus.yaml").read_text())["scrape_configs"]
    }
    (found,) = jobs["ray"]["dns_sd_configs"]
    rays = {
        name for name, service in services.items() if "--metrics-export-port=" in " ".join(service.get("command") or [])
    }
    assert set(found["names"]) == rays
    for name in rays:
        assert f"--metrics-export-port={found['port']}" in " ".join(services[name]["command"])
    (target,) = jobs["object-store"]["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert f"-metricsPort={port}" in services[name]["command"]


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume


def test_the_images_are_of_this_version(services: dict[str, Any]) -> None:
    version = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
    tags = {service["image"] for service in services.values() if service["image"].startswith("remaster:")}
    assert tags == {f"remaster:{version.split(chr(34))[1]}-{kind}" for kind in ("cpu", "cuda")}
