"""Defaults that must be in the environment before Prefect and Ray are imported. Imports neither.

Nothing phones home unless a person says so by setting these variables otherwise.
"""

from __future__ import annotations

import os

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A worker without a GPU of its own keeps the CUDA_VISIBLE_DEVICES it finds: Ray means to change that, and says so.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_PATIENCE = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_CLIENT_MAX_RETRIES": "10",  # a server with its hands full answers 503 for longer than 5 of them take
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; see `flows.watchdog`
}


def defaults() -> dict[str, str]:
    """What the environment of every process of ours is to hold, unless a person says otherwise."""
    return _QUIET | _PATIENCE


def pass_proxies_by(host: str) -> None:
    """Have this process and those it starts speak with a host directly, whatever proxy the environment names."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [each for each in os.environ.get(name, "").split(",") if each]
        if host not in hosts and "*" not in hosts:
            os.environ[name] = ",".join([*hosts, host])


def prepare(console_level: str = "WARNING") -> None:
    """Set every default that the environment does not already hold.

    Args:
        console_level: of Prefect's log lines in the terminal; the Prefect server gets them all either way.
    """
    for name, value in defaults().items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", console_level)
