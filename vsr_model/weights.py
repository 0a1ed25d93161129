"""Where weights lie that the package does not bring: `REMASTER_WEIGHTS`, or a folder below the user's data folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def weights_folder() -> Path:
    """The folder; it need not exist."""
    return Path(os.environ.get("REMASTER_WEIGHTS") or Path(platformdirs.user_data_dir("remaster")) / "weights")
