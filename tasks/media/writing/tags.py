"""The tags of a whole file in MP4 and QuickTime, which keep them in atoms of their own, or all in one general table.

Atoms are few, and some hold small numbers only. The table takes any name, but shuts out cover art and rounds
coordinates. Which of them keeps what is found out by trying.
"""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import av
import av.error

# Kept by the file's header and by a track.
_ELSEWHERE = {"creation_time", "timecode"}
COVERLESS = "MP4 has no place for cover art beside tags that it has no words of its own for"


class Kept(NamedTuple):
    """How tags are best kept: in the table or not, and the names of those that even so are not read as they were."""

    in_table: bool
    altered: tuple[str, ...]


def best_kept(muxer: str, tags: dict[str, str]) -> Kept:
    """How a muxer keeps most of these tags; any other than those of MP4 and QuickTime keeps all."""
    if muxer not in {"mp4", "mov"}:
        return Kept(False, ())
    return min((_tried(muxer, tags, in_table) for in_table in (False, True)), key=lambda kept: len(kept.altered))


def _tried(muxer: str, tags: dict[str, str], in_table: bool) -> Kept:
    wanted = {name.lower(): said for name, said in tags.items() if name.lower() not in _ELSEWHERE}
    options = {"fflags": "+bitexact", **({"movflags": "+use_metadata_tags"} if in_table else {})}
    made = BytesIO()
    try:
        with av.open(made, "w", format=muxer, options=options) as trial:
            trial.add_mux_stream("mov_text")
            trial.metadata.update(tags)
            trial.start_encoding()
        made.seek(0)
        with av.open(made) as found:
            held = {name.lower(): said for name, said in found.metadata.items()}
    except av.error.FFmpegError:
        held = {}
    return Kept(in_table, tuple(name for name, said in wanted.items() if held.get(name) != said))
