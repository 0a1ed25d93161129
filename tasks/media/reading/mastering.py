"""What an HDR picture says of the display and the light it was graded for: read, and held one against the other.

Mastering display (SMPTE ST 2086), content light level (CTA-861.3) and ambient viewing environment (H.274). How a
master says it is in `bitstream` and `template`.

FFmpeg's structures as in libavutil's `mastering_display_metadata.h` and `ambient_viewing_environment.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

_COARSE = Fraction(1, 10_000)
# By PyAV's names.
OF_HDR = frozenset({"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "AMBIENT_VIEWING_ENVIRONMENT"})


@dataclass(frozen=True)
class MasteringDisplay:
    """The display it was graded on.

    Attributes:
        primaries: x and y of red, green, blue and white.
        dimmest, brightest: nits.
    """

    primaries: tuple[Fraction, ...]
    dimmest: Fraction
    brightest: Fraction


@dataclass(frozen=True)
class Mastering:
    """What is said; None is not said.

    Attributes:
        display: the display.
        light: MaxCLL and MaxFALL in nits.
        ambient: light of the surroundings in lux, and x and y of its colour.
    """

    display: MasteringDisplay | None = None
    light: tuple[int, int] | None = None
    ambient: tuple[Fraction, ...] | None = None

    @property
    def words(self) -> str:
        """For a person, e.g. `graded on a display of 0.005 to 1000 nits, MaxCLL 1000, MaxFALL 400`."""
        said = []
        if self.display:
            dimmest, brightest = float(self.display.dimmest), float(self.display.brightest)
            said.append(f"graded on a display of {dimmest:g} to {brightest:g} nits")
        if self.light:
            said.append("MaxCLL {}, MaxFALL {}".format(*self.light))
        if self.ambient:
            said.append(f"in surroundings of {float(self.ambient[0]):g} lux")
        return ", ".join(said)


def read_mastering(side: Mapping[str, bytes]) -> Mastering | None:
    """What a decoded frame says in its side data, by PyAV's names (`side_data`); None if it says nothing of it."""
    display, light = side.get("MASTERING_DISPLAY_METADATA"), side.get("CONTENT_LIGHT_LEVEL")
    ambient = side.get("AMBIENT_VIEWING_ENVIRONMENT")
    said = Mastering(
        display=_display(display) if display else None,
        light=struct.unpack("=II", light[:8]) if light else None,
        ambient=_rationals(ambient, 3) if ambient else None,
    )
    return said if said != Mastering() else None


def said_alike(one: bytes, other: bytes, name: str) -> bool:
    """True if two pieces of side data of this name say the same, but for the units that bitstreams count in."""
    if name == "CONTENT_LIGHT_LEVEL":
        return one == other
    values = [_rationals(side_data, 10 if name == "MASTERING_DISPLAY_METADATA" else 3) for side_data in (one, other)]
    return all(abs(a - b) <= max(_COARSE, abs(a) * _COARSE / 2) for a, b in zip(*values, strict=True))


def _display(side_data: bytes) -> MasteringDisplay:
    # Whether FFmpeg believes the values, it says in two numbers more; they are carried all the same.
    *values, dimmest, brightest = _rationals(side_data, 10)
    return MasteringDisplay(tuple(values), dimmest, brightest)


def _rationals(data: bytes, count: int) -> tuple[Fraction, ...]:
    values = struct.unpack_from(f"={2 * count}i", data)
    return tuple(Fraction(a, b or 1) for a, b in zip(values[::2], values[1::2], strict=True))
