"""Rows of the media contract for tracks that are of another codec in a master: what of them must be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from tasks.media.contract.inventory import Track
from tasks.media.contract.rows import Row, kept_or_lost
from tasks.media.writing.sound import Heard

Hearing = Callable[[int, int], tuple[Heard, Heard]]
_COARSEST = Fraction(1, 1000)  # of a container's ticks, in seconds


def words(name: str, track: Track, twin: Track) -> Row:
    """Subtitles of plain words: every one of them."""
    same = track.words == twin.words
    note = "the same words, without their looks" if same else "not the same words"
    return Row(f"{name}: words", "changed" if same else "lost", track.codec, twin.codec, note)


def sound(name: str, codecs: tuple[str, str], later: Fraction, had: Heard, has: Heard) -> Iterator[Row]:
    """Sound: every sample, and when the first is heard; all streams of the master begin so many seconds `later`."""
    if had.sha256 != has.sha256:
        yield Row(f"{name}: samples", "lost", *codecs, "not the same samples")
        return
    note = "another codec; every sample is kept"
    if had.beyond > has.beyond:
        note += f", but for {had.beyond} beyond full scale, which are cut off"
    yield Row(f"{name}: samples", "changed", *codecs, note)
    far = abs(had.begins + later - has.begins)
    begins = (f"from {float(had.begins):.6f} s", f"from {float(has.begins):.6f} s")
    yield kept_or_lost(f"{name}: times", far <= _COARSEST, *begins, f"begins {float(far) * 1000:.3f} ms off")
