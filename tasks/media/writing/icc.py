"""Colour profiles (ICC) in image files, put where their formats have a place for them. Judges no profile.

Formats: PNG (ISO/IEC 15948, section 11.3.3.3, chunk iCCP); JPEG (ICC.1, annex B.4, segments APP2).
"""

from __future__ import annotations

import zlib

# Bumped when the same profile would lie otherwise in a file.
ICC_VERSION = 1
_PNG_HEADER = 33  # signature and the chunk that comes first
_NAME = b"ICC profile"
_JPEG_BEGINS, _APP0, _APP2 = b"\xff\xd8", 0xE0, b"\xff\xe2"
_MARK = b"ICC_PROFILE\0"
_SEGMENT = 0xFFFF - 2 - len(_MARK) - 2  # what is left of one for the profile


def with_profile(file: bytes, profile: bytes) -> bytes:
    """A PNG or JPEG file with a profile; any other file as it is."""
    if file.startswith(b"\x89PNG"):
        body = b"iCCP" + _NAME + b"\0\0" + zlib.compress(profile, 9)
        chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        return file[:_PNG_HEADER] + chunk + file[_PNG_HEADER:]
    if file.startswith(_JPEG_BEGINS):
        place = len(_JPEG_BEGINS)
        if file[place + 1] == _APP0:  # JFIF wants to be the first
            place += 2 + int.from_bytes(file[place + 2 : place + 4], "big")
        return file[:place] + _in_segments(profile) + file[place:]
    return file


def _in_segments(profile: bytes) -> bytes:
    parts = [profile[start : start + _SEGMENT] for start in range(0, len(profile), _SEGMENT)]
    segments = (_MARK + bytes([number, len(parts)]) + part for number, part in enumerate(parts, 1))
    return b"".join(_APP2 + (2 + len(segment)).to_bytes(2, "big") + segment for segment in segments)
