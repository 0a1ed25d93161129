"""The encoders of the master's picture, set up so that they are exact, and deterministic.

Thread counts that could change a bitstream are pinned, so a master does not depend on the machine that encoded it.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error
import av.video.stream

from tasks.errors import UnsupportedSource
from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout
from tasks.media.reading.mastering import Mastering
from tasks.media.reading.projection import Projection
from tasks.media.reading.siting import option_for
from tasks.media.writing.codecs import ENCODERS, EncodeSettings
from tasks.media.writing.template import TEMPLATED, film_that_says

# Bumped when the same frames and settings give another picture stream.
ENCODE_VERSION = 3
# SVT-AV1 would write a banner to the terminal; 1: errors only.
os.environ.setdefault("SVT_LOG", "1")
_ORDINARY = (720, 1280)  # rows and columns that every encoder takes
_DNXHR_8_BIT = ("dnxhr_lb", "dnxhr_sq", "dnxhr_hq")


def add_picture(
    container: av.container.OutputContainer,
    settings: EncodeSettings,
    height: int,
    width: int,
    layout: Layout,
    colour: Colour,
    time_base: Fraction,
    frame_rate: Fraction,
    sample_aspect: Fraction,
    mastering: Mastering | None = None,
    projection: Projection | None = None,
) -> tuple[av.video.stream.VideoStream, av.VideoCodecContext]:
    """Add the picture's stream to an output container.

    Args:
        height, width: of the master, in samples.
        layout: of the frames that will be encoded.
        colour: written to the stream and, by the muxer, to the container.
        time_base: of the timestamps that will be given, in seconds.
        frame_rate: average; for rate control, and for the container to say and to count a timecode by.
        sample_aspect: pixel width over height.
        mastering: for the container to say, where the codec's own stream does not.
        projection: for the container to say.

    Returns:
        The stream, and its encoder, which is not the stream's own where the container is to say one of these.
    """
    encoder = ENCODERS[settings.codec]
    stream: Any
    graded = mastering if settings.codec in TEMPLATED else None
    if is_templated(settings, mastering, projection):
        siting = colour.siting if layout.chroma_x or layout.chroma_y else None
        with film_that_says(graded or Mastering(), siting, projection, settings.codec) as film:
            stream = container.add_stream_from_template(film.streams.video[0], opaque=True)
        context: Any = av.CodecContext.create(encoder.name, "w")
        if container.format.name == "matroska" or settings.codec not in TEMPLATED:
            context.flags |= av.codec.context.Flags.global_header
    else:
        stream = container.add_stream(encoder.name, rate=frame_rate or 25)
        context = stream.codec_context
    for each in (stream.codec_context, context):
        each.height, each.width, each.pix_fmt = height, width, coded_format(settings, layout)
        each.sample_aspect_ratio = sample_aspect
        each.framerate = frame_rate or 25
        _tag(each, colour)
    stream.time_base = context.time_base = time_base
    context.options = option_for(colour.siting, layout) | _options(settings, height, width, layout)
    _pin(context, settings)
    if settings.codec in {"h265", "h265_nvenc"} and container.format.name in {"mp4", "mov"}:
        stream.codec_context.codec_tag = context.codec_tag = "hvc1"  # what QuickTime and Safari ask for
    if context is not stream.codec_context:
        context.open()
        stream.codec_context.extradata = context.extradata
    return stream, context


def is_templated(settings: EncodeSettings, mastering: Mastering | None, projection: Projection | None) -> bool:
    """True if the stream is made from a film that says what its encoder cannot; see `add_picture`."""
    return projection is not None or (mastering is not None and settings.codec in TEMPLATED)


def still_encoder(
    settings: EncodeSettings, height: int, width: int, layout: Layout, colour: Colour, sample_aspect: Fraction,
    rate: Fraction,
) -> av.VideoCodecContext:  # fmt: skip
    """An encoder each of whose packets is an image file; for the rest see `add_picture`."""
    context = av.CodecContext.create(ENCODERS[settings.codec].name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width, context.pix_fmt = height, width, coded_format(settings, layout)
    context.time_base, context.framerate = 1 / rate, rate
    context.sample_aspect_ratio = sample_aspect
    context.options = _options(settings, height, width, layout)
    _tag(context, colour)
    _pin(context, settings)
    return context


def _tag(context: Any, colour: Colour) -> None:
    context.color_range = 2 if colour.full_range else 1
    context.colorspace, context.color_primaries, context.color_trc = colour.matrix, colour.primaries, colour.transfer


def _pin(context: Any, settings: EncodeSettings) -> None:
    context.thread_count = ENCODERS[settings.codec].threads
    context.flags |= av.codec.context.Flags.bitexact


def require_encodable(settings: EncodeSettings, height: int, width: int, layout: Layout, label: str) -> None:
    """Find out before any work whether the encoder takes this picture.

    Raises:
        UnsupportedSource: it does not; the message says what would.
    """
    encoder = ENCODERS[settings.codec]
    step_x, step_y = (1 << layout.chroma_x, 1 << layout.chroma_y) if settings.codec != "ffv1" else (1, 1)
    if settings.codec == "av1":
        step_x = step_y = 2
    if width % step_x or height % step_y:
        full = ' or master.chroma = "444"' if "444" in encoder.chroma else ""
        raise UnsupportedSource(
            f"{label}: its master would be {width}x{height}, and {settings.codec} with this chroma needs multiples of"
            f" {step_x}x{step_y}. Choose an even scale, one that is no whole number (sides are then rounded),"
            f' master.codec = "ffv1"{full}.'
        )
    refusal = _refusal(settings, height, width, layout)
    if not refusal:
        return
    if _refusal(settings, *_ORDINARY, layout):
        remedy = "Correct master.preset, master.quality or master.options"
        if settings.codec.endswith("_nvenc"):
            remedy += ", or run where there is an NVIDIA GPU that has this encoder"
        raise UnsupportedSource(
            f"{label}: {settings.codec} does not take these settings, whatever the picture ({refusal}). {remedy}."
        )
    raise UnsupportedSource(
        f"{label}: {settings.codec} cannot encode its master of {width}x{height} {layout.pix_fmt} ({refusal}): most"
        ' codecs have a smallest and a largest size. Choose another scale or master.codec ("ffv1" takes any size).'
    )


def _refusal(settings: EncodeSettings, height: int, width: int, layout: Layout) -> str:
    """Why the encoder does not take such a picture; empty if it does."""
    encoder = ENCODERS[settings.codec]
    if width < encoder.smallest[0] or height < encoder.smallest[1]:
        return f"it takes {encoder.smallest[0]}x{encoder.smallest[1]} and more"
    context = av.CodecContext.create(encoder.name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width, context.pix_fmt = height, width, coded_format(settings, layout)
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    if settings.codec == "jpeg":
        context.color_range = 2
    context.options = _options(settings, height, width, layout)
    try:
        context.open()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return str(getattr(error, "strerror", error))
    unknown = sorted(context.options)  # those that the encoder took are gone
    return f"it knows no option {', '.join(unknown)}" if unknown else ""


def _options(settings: EncodeSettings, height: int, width: int, layout: Layout) -> dict[str, str]:
    encoder = ENCODERS[settings.codec]
    options = dict(encoder.fixed)
    for name, value in settings.options:
        # A list of parameters goes on from ours, so that what is pinned stays pinned.
        options[name] = f"{options[name]}:{value}" if name.endswith("-params") and name in options else value
    if settings.codec == "ffv1":
        options.setdefault("slices", str(ffv1_slices(height, width)))
    quality = settings.quality if settings.quality is not None else encoder.quality
    if encoder.quality_option and quality is not None:
        if settings.codec == "prores" and settings.quality is None and (layout.chroma_x, layout.chroma_y) == (0, 0):
            quality = 4
        options.setdefault(encoder.quality_option, str(quality))
    if settings.codec == "jpeg":
        options.setdefault("qmax", options["qmin"])
    if settings.codec == "dnxhr":
        best = "dnxhr_444" if layout.chroma_x == 0 else "dnxhr_hqx"
        eight = _DNXHR_8_BIT[min(2, settings.quality if settings.quality is not None else 2)]
        options.setdefault("profile", eight if layout.depth == 8 else best)
    if settings.preset is not None and encoder.preset_option:
        options.setdefault(encoder.preset_option, settings.preset)
    return options


def coded_format(settings: EncodeSettings, layout: Layout) -> str:
    """The pixel format that the encoder takes frames of `layout` in: the same samples, if in another order."""
    return dict(ENCODERS[settings.codec].memory).get(layout.pix_fmt, layout.pix_fmt)


def ffv1_slices(height: int, width: int) -> int:
    """FFV1's unit of parallel coding and of damage control: as many on every machine, fewer in small pictures.

    FFmpeg wants several from a certain size on, and several rows and columns in each.
    """
    if height <= 288 and width <= 352:
        return 1
    return 16 if min(height, width) >= 16 else 4


def movie_timescale(time_bases: list[Fraction]) -> int:
    """Ticks a second in which every stream's start offset is a whole number, for QuickTime's edit lists."""
    scale = math.lcm(*(t.denominator for t in time_bases if t))
    return scale if scale < 1 << 31 else 90_000
