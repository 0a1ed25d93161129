"""What a worker's process logs, kept for whoever ordered the shard that it has in hand. Knows nothing of Ray."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass

_KEPT, _CUT = 500, 2000  # lines, and letters of one


@dataclass(frozen=True)
class Line:
    """One line of a log: its number from 1 on in this process, its level as of `logging`, and its words."""

    number: int
    level: int
    words: str


class Said(logging.Handler):
    """Keeps the latest lines: remaster's own, and warnings of everybody. Thread-safe."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._number = 0
        self._mine = threading.Lock()

    def listen(self) -> None:
        """Hear all that this process logs, and Python's warnings, from now on. Its own output has them too."""
        logging.captureWarnings(True)
        logging.getLogger("remaster").setLevel(logging.INFO)
        for handler in (self, logging.StreamHandler()):
            logging.getLogger().addHandler(handler)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; called by `logging`."""
        if record.levelno < logging.WARNING and not record.name.startswith("remaster"):
            return
        try:
            words = record.getMessage().strip()[:_CUT]
        except Exception:  # as every handler: a line that cannot be made fails nobody
            self.handleError(record)
            return
        with self._mine:
            self._number += 1
            self._lines.append(Line(self._number, record.levelno, words))

    def since(self, number: int) -> list[Line]:
        """Lines after that number, as far as they are kept."""
        with self._mine:
            return [line for line in self._lines if line.number > number]
