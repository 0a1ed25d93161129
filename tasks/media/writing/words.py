"""Subtitles that are plain words, brought from one container's kind into another's; nothing of pictures or ASS.

SubRip in Matroska is text with tags such as <i>; QuickTime's (3GPP TS 26.245) is a length of two bytes, text, and boxes
that say how it looks. The words and their line breaks are kept, how they look is not.
"""

from __future__ import annotations

import hashlib
import re

# Bumped when the same track would become another one.
WORDS_VERSION = 1
# In the remark on a track that is kept so.
BY_WORDS = "word for word, without its looks"
# By muxer: the kind it holds. Names are those of FFmpeg's decoders.
_KEPT_AS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
_KINDS = frozenset({"srt", "subrip", "text", "mov_text"})
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|\{\\[^{}]*\}")


def kept_as(muxer: str, codec: str) -> str:
    """The kind of subtitles in which a muxer holds the words of others; empty if it does not."""
    kind = _KEPT_AS.get(muxer, "")
    return kind if codec in _KINDS and kind != codec else ""


def words_of(data: bytes, codec: str) -> str:
    """What is read on the screen, from a packet of one of these kinds."""
    text = data[2 : 2 + int.from_bytes(data[:2], "big")] if codec == "mov_text" else data
    return _TAG.sub("", text.decode("utf-8", "replace")).replace("\r\n", "\n").strip("\n")


def rewritten(data: bytes, codec: str, kind: str) -> bytes:
    """A packet of `kind` with the words of one of another."""
    text = words_of(data, codec).encode()
    return len(text).to_bytes(2, "big") + text if kind == "mov_text" else text


class Script:
    """Takes the packets of a track, gives a hash of all its words."""

    def __init__(self, codec: str) -> None:
        self._codec, self._hash = codec, hashlib.sha256()

    def take(self, data: bytes) -> None:
        """The next packet."""
        if self._codec in _KINDS:
            self._hash.update(words_of(data, self._codec).encode() + b"\0")

    @property
    def sha256(self) -> str:
        """Of all that was taken; empty if it was no words."""
        return self._hash.hexdigest() if self._codec in _KINDS else ""
