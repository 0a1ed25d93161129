"""How a picture is to be looked at: from within (spherical video), or by two eyes (stereo 3D). Read, not written.

FFmpeg's structures as in libavutil's `spherical.h` and `stereo3d.h`. What Matroska calls it is RFC 9559, sections
5.1.4.1.28.3 (stereo mode) and 5.1.4.1.28.41 and after (projection).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

# Arrangement and whether the right eye comes first, as FFmpeg says it: Matroska's number. Side by side, one above the
# other, one after the other. What interleaves pixels is no such thing any more once it is enlarged.
_STEREO_MODES = {(1, 0): 1, (1, 1): 11, (2, 0): 3, (2, 1): 2, (3, 0): 13, (3, 1): 14}
# All around, or a part of that: both are equirectangular, by Matroska's number.
_AROUND, _PART = 0, 2
_EQUIRECTANGULAR = 1


@dataclass(frozen=True)
class Projection:
    """What a master can say of it.

    Attributes:
        stereo: Matroska's stereo mode; 0 where there is one eye.
        around: the picture is equirectangular.
        pose: yaw, pitch and roll, in 1/65536 degrees.
        bounds: what is left out of a whole sphere at the left, top, right and bottom, in 1/2^32 of it.
    """

    stereo: int = 0
    around: bool = False
    pose: tuple[int, int, int] = (0, 0, 0)
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def plain(self) -> bool:
        """True if it is all around, level, and for one eye: all that FFmpeg reads back from MP4 and QuickTime."""
        return not self.stereo and not any(self.pose) and not any(self.bounds)

    def as_matroska(self) -> tuple[int, bytes, tuple[float, float, float]]:
        """Projection type, its private data, and the pose in degrees."""
        left, top, right, bottom = self.bounds
        yaw, pitch, roll = (angle / 65536 for angle in self.pose)
        return _EQUIRECTANGULAR, struct.pack(">5I", 0, top, bottom, left, right), (yaw, pitch, roll)


def read_projection(side: Mapping[str, bytes]) -> Projection | None:
    """What a decoded frame says in its side data, by PyAV's names; None if it is nothing that a master can say."""
    eyes, sphere = side.get("STEREO3D"), side.get("SPHERICAL")
    stereo = _STEREO_MODES.get(struct.unpack_from("=2i", eyes), 0) if eyes else 0
    said = Projection(stereo)
    if sphere:
        kind, yaw, pitch, roll, *bounds = struct.unpack_from("=4i4I", sphere)
        if kind in {_AROUND, _PART}:
            left, top, right, bottom = bounds
            said = Projection(stereo, True, (yaw, pitch, roll), (left, top, right, bottom))
    return said if said != Projection() else None
