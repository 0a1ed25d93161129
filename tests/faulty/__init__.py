"""A network that fails where a test says so, in every process of a run, and a count of how often it was asked.

`Faults.env` makes Python load `sitecustomize` from this folder, which adds the network `faulty` to the registry of
whatever process imports it: the driver, and the Ray workers that it starts. It upscales as lanczos does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
VARIABLE = "REMASTER_TEST_FAULTS"


@dataclass(frozen=True)
class Faults:
    """What goes wrong, by the first frame of the shard it happens to: one folder, one file a kind."""

    folder: Path

    def env(self, base: dict[str, str]) -> dict[str, str]:
        """The environment of a run that starts Ray itself."""
        self.folder.mkdir(exist_ok=True)
        path = os.pathsep.join([str(HERE), base["PYTHONPATH"]])
        return {**base, "PYTHONPATH": path, "RAY_ADDRESS": "", VARIABLE: str(self.folder)}

    def happen(self, kind: str, *frames: int) -> None:
        """From now on shards that begin at these frames, and no others, have something happen to them.

        They `fail`, `fail-once`, `kill` their worker, `hang-once`, or come out with a fault of `tests.mutations`.
        """
        (self.folder / kind).write_text(" ".join(map(str, frames)))

    def meet(self, processes: int) -> None:
        """From now on each process that is asked for a shard waits until so many of them have been."""
        (self.folder / "meet").write_text(str(processes))

    def invocations(self) -> list[int]:
        """First frames of the shards that the network was asked for since the last time, in order."""
        log = self.folder / "log"
        asked = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
        log.unlink(missing_ok=True)
        return asked
