"""Timecode: where a file says that of its first frame, and what the same moment is called at another rate.

Timecode counts frames of whole hours, minutes and seconds: HH:MM:SS:FF, or HH:MM:SS;FF where the numbers of some frames
are dropped, so that it keeps pace with the clock at 30000/1001 and 60000/1001 frames a second (SMPTE ST 12-1).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

_CODE = re.compile(r"(\d+:\d+:\d+)([:;.,])(\d+)")
# Numbers are dropped of so many frames a second, and multiples of that.
_DROPPING = 30


def is_timecode(tag: str) -> bool:
    """True for the name of a tag that holds it."""
    return tag.lower() == "timecode"


def said_timecode(container: Any) -> str:
    """What an open file says; empty if it does not."""
    said = [*(stream.metadata for stream in container.streams), container.metadata]
    return next((value for tags in said for name, value in tags.items() if is_timecode(name)), "")


def restated(code: str, before: Fraction, after: Fraction) -> str:
    """A timecode of `before` frames a second at `after` of them: of the same second, the frame that is shown then.

    What is no timecode, or of no known rate, stays as it is.
    """
    parts = _CODE.fullmatch(code)
    counted, counting = round(before), round(after)
    if not parts or before == after or not counted or not counting:
        return code
    second, mark, frame = parts.groups()
    mark = mark if counting % _DROPPING == 0 else ":"
    return f"{second}{mark}{int(frame) * counting // counted:02d}"
