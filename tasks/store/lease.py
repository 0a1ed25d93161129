"""Leases: of several processes that could make the same thing, one does, and the others can wait for it.

A lease of NAME is a file `leases/NAME.NUMBER` that says which process holds it and when it runs out. The first is made
as number 1; who finds the highest one run out makes the next. `Store.create` lets one process only make a number, so a
takeover has one winner, and the higher number is how a holder that was away learns that it lost (`confirm`).

Numbers are taken away from the lowest up once the thing is there, and one by its holder alone if it gives up in time.
So while the thing is not there no number below a live lease is ever free, and a holder that comes back too late finds
only its own file to write to.

The clocks of all machines are taken to agree within MARGIN. If they do not, or if a holder is stopped between
`confirm` and what it does next, two may work at once: what they make must be such that this costs time and nothing
else. What that is, is not known here.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from tasks.errors import LeaseLost, RemasterError
from tasks.seal import opened, sealed
from tasks.store.process import is_gone, this_process
from tasks.store.store import Store

_LOG = logging.getLogger("remaster.lease")

# Seconds by which the clocks of two machines may differ: a lease is taken over so much after it ran out.
MARGIN = 5.0
# Renewed three times in its life: two in a row may fail.
_BEATS = 3
# Seconds between two looks at somebody else's lease.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


def claim(store: Store, name: str, seconds: float) -> Lease | None:
    """A lease of a name, or None if somebody else holds one.

    Args:
        name: of what is to be made; no slashes.
        seconds: how long the lease lasts without a sign of life. It is renewed until it is left.
    """
    for number in itertools.count(1):
        expires = time.time() + seconds
        if store.create(_place(name, number), _claim(expires)):
            return Lease(store, name, number, seconds, expires)
        if _is_live(store, name, number) is not False:
            return None
    raise AssertionError


def wait(store: Store, name: str, pause: Callable[[], None]) -> None:
    """Wait until nobody holds a lease of a name.

    `pause` is called before each look but the first; what it raises ends the waiting.
    """
    seconds = _FIRST_PAUSE
    while _is_leased(store, name):
        time.sleep(seconds)
        pause()
        seconds = min(2 * seconds, _LONGEST_PAUSE)


def clear(store: Store, name: str) -> None:
    """Remove what killed holders left of a name whose thing is there."""
    for number in itertools.count(1):
        if _is_live(store, name, number) is not False:
            return
        store.delete(_place(name, number))


class Lease:
    """A lease that is held; a context that leaves it at its end. `claim` makes them.

    If the block ends well the thing is taken to be there, and everybody's leases of it are removed; if it raises, only
    this one is, so that somebody else may try.
    """

    def __init__(self, store: Store, name: str, number: int, seconds: float, expires: float) -> None:
        """Renew it from now on."""
        self.number = number
        self._store, self._name, self._seconds = store, name, seconds
        self._expires = expires
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"lease {name[:8]}", daemon=True)
        self._heart.start()

    def confirm(self) -> None:
        """Raise LeaseLost unless the lease is still held."""
        # A dead one above may be what a killed process did not come to remove; it competes with nobody.
        if not self._is_held() or _is_live(self._store, self._name, self.number + 1):
            raise LeaseLost(
                f"the lease of {self._name} ran out, {self._seconds:.0f} s after its last sign of life, and somebody"
                " else may have it now. If this machine was awake and the store answers, raise `retry.lease`."
            )

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._left.set()
        self._heart.join()
        try:
            self._remove(done=kind is None)
        except RemasterError as failed:
            _LOG.warning("a lease of %s stays until it runs out: %s", self._name, failed)

    def _is_held(self) -> bool:
        return time.time() < self._expires

    def _beat(self) -> None:
        while not self._left.wait(self._seconds / _BEATS) and self._is_held():
            try:
                self._renew()
            except RemasterError as error:
                _LOG.warning("the lease of %s is not renewed yet: %s", self._name, error)

    def _renew(self) -> None:
        expires = time.time() + self._seconds
        self._store.write(_place(self._name, self.number), _claim(expires))
        # One that arrives when the lease has run out may be too late.
        if self._is_held():
            self._expires = expires

    def _remove(self, done: bool) -> None:
        if done:
            for number in range(1, self.number + 1):
                self._store.delete(_place(self._name, number))
        elif self._is_held() and not self._store.exists(_place(self._name, self.number + 1)):
            self._store.delete(_place(self._name, self.number))


def _place(name: str, number: int) -> str:
    return f"leases/{name}.{number:04d}"


def _claim(expires: float) -> bytes:
    return sealed(json.dumps({"process": this_process(), "expires": expires}, indent=1).encode())


def _is_leased(store: Store, name: str) -> bool:
    for number in itertools.count(1):
        live = _is_live(store, name, number)
        if live is not False:
            return live is True
    raise AssertionError


def _is_live(store: Store, name: str, number: int) -> bool | None:
    """True for a lease that is held, False for one that may be taken over, None if there is none."""
    try:
        claimed = json.loads(opened(store.read(_place(name, number))))
        process, expires = str(claimed["process"]), float(claimed["expires"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return False  # torn: a lease says nothing of the thing itself, so this one is simply nobody's
    return time.time() < expires + MARGIN and not is_gone(process)
