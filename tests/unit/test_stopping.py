"""SIGTERM lets what runs end, until a deadline."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """
import sys, time
from flows.stopping import draining_on_termination, is_draining

with draining_on_termination():
    print("ready", flush=True)
    while not is_draining():
        time.sleep(0.01)
    time.sleep(float(sys.argv[1]))
sys.exit(3)
"""


@pytest.mark.parametrize(("work", "code"), [("0.1", 3), ("60", 128 + signal.SIGTERM)])
def test_what_runs_may_end_until_the_deadline(work: str, code: int) -> None:
    env = {**os.environ, "REMASTER_DRAIN": "2", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", PROGRAM, work]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=50)
    assert process.returncode == code
    assert "running shards get 2 s" in said
    assert ("still ran 2 s after SIGTERM" in said) == (code != 3)
    assert time.monotonic() - began >= (2 if code != 3 else 0)


SECOND = """
import os, signal, sys
from flows.stopping import draining_on_interrupt

with draining_on_interrupt():
    print("\\x1b[?25lready", file=sys.stderr, flush=True)
    while True:
        signal.pause()
"""


def test_a_second_ctrl_c_leaves_the_terminal_with_its_cursor() -> None:
    ours, its = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", SECOND], env=env, stderr=its)
    os.close(its)
    said = b""
    for wanted in (b"ready", b"Ctrl-C again"):
        while wanted not in said:
            said += os.read(ours, 1024)
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    with suppress(OSError):  # what a terminal says whose other end is closed
        while part := os.read(ours, 1024):
            said += part
    os.close(ours)
    assert said.index(b"\x1b[?25h") > said.index(b"\x1b[?25l")
