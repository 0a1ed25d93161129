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
    # Ray's own workers would otherwise inherit one arithmetic thread each.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_PATIENCE = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
}


def prepare(console_level: str = "WARNING", cluster: bool = False) -> None:
    """Set every default that the environment does not already hold.

    Args:
        console_level: of Prefect's log lines in the terminal; the Prefect server gets them all either way.
        cluster: True if a Ray cluster will be joined instead of Ray being started on this machine.
    """
    for name, value in (_QUIET | _PATIENCE).items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", console_level)
    if not cluster:
        # A Ray that this process starts serves nobody else, so it needs no tokens: it is kept on loopback (the
        # variable's name speaks of two systems and works on all) and is gone with the process.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
