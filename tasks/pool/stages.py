"""Three threads that hand frames over through bounded queues: what a shard needs of memory does not grow with it.

Knows nothing of what is handed over but that it is frames.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

from tasks.media.picture.pixels import Planes


class Stages:
    """Two helper threads around the caller: one that produces into a bounded queue, one that consumes from one.

    The first error of any of the three ends them all and is raised in the caller.
    """

    _END = object()

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._output: queue.Queue[object] = queue.Queue(capacity)

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self._put(self._output, self._END)
        else:
            self._stop.set()
        for thread in self._threads:
            thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def produce(self, items: Iterator[Planes]) -> Iterator[Planes]:
        """Run an iterator in a thread; iterate over what it gives here."""
        source: queue.Queue[object] = queue.Queue(self._capacity)

        def fill() -> None:
            for item in items:
                if not self._put(source, item):
                    return
            self._put(source, self._END)

        self._start(fill)
        while (item := self._get(source)) is not self._END:
            yield item  # type: ignore[misc]

    def consume(self, sink: Callable[[Iterator[Planes]], None]) -> Callable[[Planes], None]:
        """Run a function over an iterator in a thread; returns how to feed it."""

        def drain() -> Iterator[Planes]:
            while (item := self._get(self._output)) is not self._END:
                yield item  # type: ignore[misc]

        def feed(planes: Planes) -> None:
            if not self._put(self._output, planes):
                self._raise()

        self._start(lambda: sink(drain()))
        return feed

    def _start(self, body: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                body()
            except _Stopped:
                pass
            except BaseException as error:
                self._error = self._error or error
                self._stop.set()

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _put(self, where: queue.Queue[object], item: object) -> bool:
        while not self._stop.is_set():
            try:
                where.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _get(self, where: queue.Queue[object]) -> object:
        while True:
            try:
                return where.get(timeout=0.1)
            except queue.Empty:
                if self._stop.is_set():
                    self._raise()

    def _raise(self) -> None:
        raise self._error if threading.current_thread() not in self._threads and self._error else _Stopped


def timed(items: Iterator[Planes], busy: dict[str, float], stage: str) -> Iterator[Planes]:
    """The items of an iterator, with the seconds spent waiting for each added to `busy[stage]`."""
    while True:
        began = time.perf_counter()
        item = next(items, None)
        busy[stage] += time.perf_counter() - began
        if item is None:
            return
        yield item


class _Stopped(Exception):
    """Ends a helper thread after another one failed."""
