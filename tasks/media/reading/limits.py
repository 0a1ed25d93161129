"""How much a source may be. A small file can promise a huge picture, so what is too much is refused undecoded.

Knows numbers; where they come from is the profile's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.errors import UnsupportedSource

_WORDS = {
    "pixels": "pixels a frame",
    "frames": "frames",
    "seconds": "seconds",
    "streams": "streams",
    "bytes": "bytes",
}


@dataclass(frozen=True)
class Limits:
    """The most that is taken: pixels of a frame, frames, seconds, streams of any kind, bytes, damaged frames."""

    pixels: int = 2**26
    frames: int = 5_000_000
    seconds: float = 172_800.0
    streams: int = 256
    bytes: int = 2**42
    damaged: int = 0

    @property
    def for_opening(self) -> dict[str, str]:
        """The same as options for opening a file: FFmpeg decodes a frame or two to learn what is in it."""
        # FFmpeg's own limit of streams is 1000.
        return {**self.for_decoding, "max_streams": str(max(1000, self.streams + 1))}

    @property
    def for_decoding(self) -> dict[str, str]:
        """The same as options for a decoder."""
        return {"max_pixels": str(self.pixels)}

    def require(self, label: str, **found: float) -> None:
        """Raise UnsupportedSource if any of these is too much; `label` is what a person calls the source."""
        for name, value in found.items():
            if value > getattr(self, name):
                raise UnsupportedSource(f"{label}: has {value:,.0f} {self._too_much(name)}")

    def hidden(self, label: str) -> UnsupportedSource:
        """The error for a picture that is not decoded within the limits, and whose size is not known otherwise."""
        return UnsupportedSource(
            f"{label}: none of its frames can be decoded; it is damaged, or has more {self._too_much('pixels')}"
        )

    def _too_much(self, name: str) -> str:
        most = getattr(self, name)
        return (
            f"{_WORDS[name]}; at most {most:,.0f} are taken. If it is what it should be, raise `limits.{name}` in the"
            " profile; if not, remove it from the library."
        )
