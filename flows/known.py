"""Where this user's runs are: a pointer file a run in the user's data folder, so that an id is enough to name a run."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from tasks.errors import UsageError
from tasks.store import Store


def note_run(run_id: str, store: str) -> None:
    """Remember where a run's store is. A home that cannot be written is no reason to fail: `--store` names it then."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        (_folder() / run_id).write_text(store, encoding="utf-8")
    except OSError:
        pass


def find_store(run_id: str) -> Store:
    """The store of a run, or of the latest one for an empty id.

    Raises:
        UsageError: this user never ran it here.
    """
    known = sorted(_folder().iterdir()) if _folder().is_dir() else []
    for path in reversed(known):
        if not run_id or path.name == run_id:
            return Store(path.read_text(encoding="utf-8"))
    raise UsageError(f"run {run_id or '(latest)'}: not known on this machine; name its store with --store URI.")


def _folder() -> Path:
    return Path(platformdirs.user_data_dir("remaster")) / "runs"
