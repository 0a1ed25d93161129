"""Decoding a picture stream to its end, past whatever of it is damaged. Counts no damage, and judges none.

A packet that gives no frame is passed over, as in the frame table (`tasks.media.reading.timeline`), so that frames have
the same numbers for whoever counts them.

In WebM alpha lies beside the picture, as a second one of gray (`BlockAdditional` of Matroska). FFmpeg's own decoders of
VP8 and VP9 leave it out, those of libvpx do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av
import av.container
import av.error
import av.packet
import av.video.stream

from tasks.media.reading.source import packets_of

# What decoders say of a packet that they can make nothing of; the latter if a library that they lean on says it.
UNDECODABLE = (av.error.InvalidDataError, av.error.ExternalError)


# Those decoders, by codec. They say of no frame that it is a key frame.
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Damaged(Exception):
    """Something is damaged that was taken for whole, and is to be read with more care."""


def alpha_decoder(stream: av.video.stream.VideoStream) -> str:
    """What decodes a stream with the alpha that, as the container says, lies beside it; empty for any other stream."""
    return WITH_ALPHA.get(stream.codec_context.name, "") if stream.metadata.get("alpha_mode", "0") != "0" else ""


def decoder(stream: av.video.stream.VideoStream) -> Callable[[av.packet.Packet[Any]], list[av.VideoFrame]]:
    """What makes frames of a stream's packets, from a key frame on, with all that they hold; see `video_stream`."""
    own, name = stream.codec_context, alpha_decoder(stream)
    if not name:
        return lambda packet: list(packet.decode())
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count, context.flags, context.options = own.thread_count, own.flags, dict(own.options)
    return context.decode


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
    decode = decoder(stream)
    for packet in packets_of(container, stream):
        try:
            frames = decode(packet)
        except UNDECODABLE as error:
            if not damaged:
                raise Damaged from error
            continue
        for frame in frames:
            if frame.is_corrupt and not damaged:
                raise Damaged
            yield frame
