"""`remaster preview`: a page on which a person sees what networks make of a part of a title, and chooses one."""

from __future__ import annotations

import re
import time
from pathlib import Path, PurePosixPath

from flows.arguments import file_uri
from flows.request import Excerpt
from tasks.comparison import Comparison, compare_networks
from tasks.comparison_page import comparison_page
from tasks.errors import UsageError
from tasks.profile import Profile
from tasks.scan import examine

# Enough to see whether a picture holds still.
_SHOWN = 8


def write_preview(asked: Excerpt, profile: Profile, page: str) -> tuple[Path, bool]:
    """Write the page, and say in the terminal what was found.

    Args:
        asked, profile: see `compare`.
        page: file to write; empty: a name beside nothing, in the current folder.

    Returns:
        The file, and whether every network is on it.

    Raises:
        UsageError: an option is not what it has to be, or there is nothing to show.
    """
    began = time.perf_counter()
    found = compare(asked, profile)
    path = Path(page or f"{PurePosixPath(asked.title).stem}.preview.html")
    try:
        path.write_text(comparison_page(found), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--page {path}: cannot be written ({error.strerror}). Name another file.") from error
    for candidate in found.candidates:
        if candidate.rate:
            print(f"{candidate.model}: {candidate.rate:.1f} frames of this part a second")
    for model, why in found.left_out:
        print(f"{model}: not shown: {why}")
    print(f"page: {path} ({path.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - began:.0f} s)")
    return path, not found.left_out


def compare(asked: Excerpt, profile: Profile) -> Comparison:
    """Have the networks make the part.

    Args:
        asked: which part of which title, by which networks.
        profile: of all networks.

    Raises:
        UsageError: one of these is not what it has to be, or there is nothing to show.
    """
    uri = file_uri(asked.title)
    title = examine(PurePosixPath(uri).name, uri, profile)
    moment = _seconds(asked.at) if asked.at else (title.probe.duration / 2 if title.probe else 0.0)
    return compare_networks(title, profile, asked.models, moment, asked.seconds, _size(asked.part), _SHOWN)


def _seconds(text: str) -> float:
    """A moment such as 90, 1:30 or 00:01:30.5."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise UsageError(f"--at {text}: write a moment as 90, 1:30 or 00:01:30.5.")
    total = 0.0
    for number in text.split(":"):
        total = 60 * total + float(number)
    return total


def _size(text: str) -> tuple[int, int]:
    """Rows and columns; zeros for all of the picture."""
    if text == "whole":
        return 0, 0
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(map(int, found.groups())) < 32:
        raise UsageError(f"--part {text}: write it as 256x144, columns and rows from 32 on, or as whole.")
    columns, rows = map(int, found.groups())
    return rows, columns
