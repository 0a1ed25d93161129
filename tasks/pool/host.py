"""Ray itself: joining a cluster or starting one on this machine, and leaving it again. Knows nothing of workers."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any

import ray
from ray._private import ray_constants

from tasks.errors import UsageError

_LOG = logging.getLogger("remaster.pool")
_UP_SECONDS = 300.0
_CONNECT_SECONDS = 10.0
# Frames never enter Ray's object store: only orders and records do.
_OBJECT_STORE_BYTES = 128 << 20
# The name speaks of two systems; it works on all.
_CLUSTER, _AUTH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE"


class RayHost:
    """Ray for as long as a pool needs it, started and stopped by one thread of its own.

    Linux kills Ray's processes when the *thread* that started them ends, so that thread must not be one that ends
    with a task.
    """

    def __init__(self, address: str, workers: int) -> None:
        """Join the cluster at `address`, or start Ray here with room for so many `workers` where that is empty.

        Raises:
            UsageError: no cluster answers, or Ray does not start.
        """
        self._address, self._workers = address, workers
        self._up, self._enough = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._host, name="ray-host", daemon=True)
        self._thread.start()
        # Ray asks an address where nobody is for many minutes.
        if not self._up.wait(_UP_SECONDS):
            self._enough.set()  # should it come up after all
            where = f"no Ray cluster answers at {address}" if address else "Ray did not start"
            raise UsageError(f"{where} in {_UP_SECONDS:.0f} s. Check the address, and Ray's logs (under /tmp/ray).")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Leave or stop Ray."""
        self._enough.set()
        self._thread.join()

    def _host(self) -> None:
        try:
            mine = _connect(self._address, self._workers)
        except Exception as error:
            self._error = error
            return
        finally:
            self._up.set()
        self._enough.wait()
        if mine:
            ray.shutdown()


def _connect(address: str, workers: int) -> bool:
    """Join or start Ray; True if this process started it."""
    if ray.is_initialized():
        return False
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address:
        _require_listener(address)
        try:
            ray.init(address=address, **quiet)
        except ConnectionError as error:
            raise UsageError(f"no Ray cluster answers at {address} ({error}).") from error
        return True
    _keep_on_loopback()
    began = time.perf_counter()
    ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, workers),
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        **quiet,
    )
    _LOG.debug("Ray started in %.1f s", time.perf_counter() - began)
    return True


def _keep_on_loopback() -> None:
    """A Ray that this process starts serves nobody else, needs no tokens, and is gone with the process.

    Decided here, as only here it is known that no cluster is joined: its driver must have an address of its own there.
    """
    if os.environ.setdefault(_CLUSTER, "0") == "0":
        os.environ.setdefault(_AUTH, "disabled")
        ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when Ray is imported


def _require_listener(address: str) -> None:
    """Refuse HOST:PORT where nothing listens, at once; other kinds of address are Ray's to judge."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(f"no Ray cluster answers at {address} ({error}). Check --ray-address.") from error
