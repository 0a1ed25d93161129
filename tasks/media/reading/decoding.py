"""Decoding a picture stream to its end, past whatever of it is damaged. Counts no damage, and judges none.

A packet that gives no frame is passed over, as in the frame table (`tasks.media.reading.timeline`), so that frames have
the same numbers for whoever counts them.
"""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.container
import av.error
import av.video.stream

# What decoders say of a packet that they can make nothing of; the latter if a library that they lean on says it.
UNDECODABLE = (av.error.InvalidDataError, av.error.ExternalError)


class Damaged(Exception):
    """Something is damaged that was taken for whole, and is to be read with more care."""


def decoded(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, damaged: bool = True
) -> Iterator[av.VideoFrame]:
    """Every frame of a stream that can be decoded, in the order shown.

    Args:
        container: at the place to begin.
        stream: of it, as `video_stream` sets it up.
        damaged: what is damaged is passed over. Decoders that work ahead lose more there than is damaged: frames are
            only counted right in one thread.

    Raises:
        Damaged: something is, and it was not expected.
        FFmpegError: the container itself cannot be read on.
    """
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except UNDECODABLE as error:
            if not damaged:
                raise Damaged from error
            continue
        for frame in frames:
            if frame.is_corrupt and not damaged:
                raise Damaged
            yield frame
