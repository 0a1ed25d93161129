"""How a container says which language a track is in. QuickTime has numbers, and only for some."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import av
import numpy as np

from tasks.media.reading.languages import codes_of

UNSPOKEN = "QuickTime has no number for it"
_RATE = 48_000


@lru_cache(maxsize=1024)
def code_in(muxer: str, language: str) -> str:
    """The code under which a container keeps a language, found out by trying; empty if it cannot say it."""
    if muxer != "mov":  # all others take three letters as they are
        return language
    return next((code for code in codes_of(language) if _kept(muxer, code)), "")


def _kept(muxer: str, code: str) -> bool:
    file = BytesIO()
    with av.open(file, "w", format=muxer) as output:
        track = output.add_stream("pcm_s16le", rate=_RATE, layout="mono")
        track.metadata["language"] = code
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1), np.int16), format="s16", layout="mono")
        silence.sample_rate, silence.pts = _RATE, 0
        output.mux(track.encode(silence))
        output.mux(track.encode(None))
    file.seek(0)
    with av.open(file) as made:
        return made.streams[0].metadata.get("language") == code
