"""Ray itself: joining a cluster or starting one on this machine, asking its head, and leaving it again.

Ray waits for ever for a head that is stuck (`ray.nodes`, a new actor, `ray.shutdown`, the end of the process): all of
that has a limit here. Knows nothing of workers.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import ray
from ray._private import ray_constants

from tasks.errors import UsageError

T = TypeVar("T")

_LOG = logging.getLogger("remaster.pool")
_UP_SECONDS = 300.0
_CONNECT_SECONDS = 10.0
# A head answers in milliseconds; one that is that late is not about to.
_ANSWER_SECONDS = 60.0
# Leaving a cluster takes less than a second, stopping one of our own some.
_LEAVE_SECONDS = 60.0
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
            _end_in_time()
            where = f"no Ray cluster answers at {address}" if address else "Ray did not start"
            raise UsageError(f"{where} in {_UP_SECONDS:.0f} s. Check the address, and Ray's logs (under /tmp/ray).")
        if self._error is not None:
            raise self._error

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to a question that only the cluster's head can answer, or the error that it raises.

        Raises:
            UsageError: there is none in time. The question is left to itself, on a thread of its own.
        """
        answer: Future[T] = Future()
        threading.Thread(target=_answer, args=(question, answer), name="ray-question", daemon=True).start()
        if not wait([answer], _ANSWER_SECONDS).done:
            where = f"the Ray cluster at {self._address}" if self._address else "Ray on this machine"
            raise UsageError(
                f"{where} has not answered in {_ANSWER_SECONDS:.0f} s: its head is stuck, or cannot be reached. See"
                " there what `gcs_server` does, and Ray's logs (under /tmp/ray); start it again, then run again."
            )
        return answer.result()

    def close(self) -> None:
        """Leave or stop Ray; where it does not let go, it is left as it is, with a word."""
        self._enough.set()
        self._thread.join(_LEAVE_SECONDS)
        if self._thread.is_alive():
            _end_in_time()
            _LOG.warning(
                "Ray did not let go in %.0f s, and is left as it is: its head is stuck, or cannot be reached. What is"
                " done is kept.",
                _LEAVE_SECONDS,
            )

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


def _answer(question: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(question())
    except BaseException as error:
        answer.set_exception(error)


def _end_in_time() -> None:
    """See to it that this process ends once it is about to: Ray's own hook may then wait for ever."""
    ending = threading.Event()
    threading.Thread(target=_end_after, args=(ending,), name="ray-end", daemon=True).start()
    atexit.register(ending.set)  # comes before Ray's; from 3.12 on no thread can be started that late


def _end_after(ending: threading.Event) -> None:
    ending.wait()
    time.sleep(_LEAVE_SECONDS)
    print("Ray keeps this process from ending: it is ended.", file=sys.stderr, flush=True)
    os._exit(1)


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
