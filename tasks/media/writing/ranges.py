"""Into which ranges of frames a picture is cut, so that several encoders can work on it at once.

Knows lengths and settings, and not how many cores there are: a master does not depend on the machine that encoded it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from tasks.media.writing.codecs import STILLS, EncodeSettings

# Ten minutes at 24 a second: what a key frame costs does not show in so many, and a film has a dozen ranges.
_ENOUGH = 14_400
# Options by which an encoder keeps to a rate, or writes down how it would.
_RATES = frozenset({
    "b", "bitrate", "tbr", "mbr", "minrate", "maxrate", "bufsize", "buf-sz", "vbv-maxrate", "vbv-bufsize", "nal-hrd",
    "hrd", "strict-cbr", "rc", "pass", "passes", "stats",
})  # fmt: skip


def why_whole(settings: EncodeSettings) -> str:
    """Why all frames must go to one encoder, in words; empty if they need not."""
    if settings.codec in STILLS:
        return "image files are encoded one by one as it is"
    if settings.codec.endswith("_nvenc"):
        return "of NVENC only one encoder is used at a time"
    rates = sorted({name for name, value in _single(settings.options) if value != "0"} & _RATES)
    return f"one encoder alone can keep to a rate ({', '.join(rates)})" if rates else ""


def _single(options: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    """Options by name and value, those of an encoder's own list (`x265-params`) too."""
    for name, value in options:
        members = [member.partition("=") for member in value.split(":")] if name.endswith("-params") else []
        yield from ((member.replace("_", "-"), given) for member, _, given in members)
        yield name, value


def leave_no_trace(settings: EncodeSettings) -> bool:
    """True if an encoder makes the same of a frame whatever came before it, so that no range shows in the master."""
    options = dict(settings.options)
    if settings.codec == "ffv1":
        return options.get("g", "1") == "1"
    # DNxHR's search for the best blocks (`mbd`) begins where it ended in the frame before.
    return settings.codec == "prores" or (settings.codec == "dnxhr" and "mbd" not in options)


def how_many(wanted: int | Literal["auto"], settings: EncodeSettings, frames: int) -> int:
    """How many ranges a picture of so many frames is to have."""
    if wanted != "auto":
        return wanted
    return 1 if why_whole(settings) else max(1, frames // _ENOUGH)


def cut(starts: Sequence[int], frames: int, ranges: int) -> list[int]:
    """Which shards begin a range, so that ranges are about equally long: their indices, rising, from 0.

    Args:
        starts: the first frame of each shard, rising, from 0.
        frames: of the title.
        ranges: how many; there are fewer if there are not enough shards.
    """
    shards = range(len(starts))
    return sorted({min(shards, key=lambda at: abs(starts[at] * ranges - frames * part)) for part in range(ranges)})
