"""Prints the first of COUNT ports in a row that are free on loopback: `free-ports.py COUNT [FIRST]`.

Without FIRST they are anywhere below 32768, where Linux starts handing out ports to clients, and beyond those
that Ceph's OSDs take. A block that is asked for is looked at too: a server that has one of its ports would answer in
place of ours. Nothing is held: another program may take a port before its server does.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys

_LOW, _HIGH = 18000, 32000


def _are_free(first: int, count: int) -> bool:
    with contextlib.ExitStack() as held:
        try:
            for port in range(first, first + count):
                server = held.enter_context(socket.socket())
                # As servers do, or the ports of one that has just ended would be taken for a while.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main(count: int, wanted: int | None) -> None:
    """Print one, or end with what is lacking."""
    blocks = [wanted] if wanted else random.sample(range(_LOW, _HIGH, 10), 200)
    first = next((first for first in blocks if _are_free(first, count)), None)
    if first is None:
        where = f"{wanted} to {wanted + count - 1}" if wanted else f"anywhere from {_LOW} to {_HIGH}"
        sys.exit(f"free-ports.py: {count} free ports in a row are needed, and there are none at {where}")
    print(first)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
