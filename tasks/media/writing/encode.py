"""The master's picture codecs: what each can hold, how it is set up so that it is exact, and deterministic.

Thread counts that could change a bitstream are pinned, so a master does not depend on the machine that encoded it.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

import av
import av.container
import av.error
import av.video.stream

from tasks.errors import UnsupportedSource
from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout
from tasks.media.reading.mastering import Mastering
from tasks.media.reading.projection import Projection
from tasks.media.reading.siting import option_for, siting_kept
from tasks.media.writing.template import TEMPLATED, film_that_says

Codec = Literal[
    "h264",
    "h265",
    "av1",
    "vp9",
    "prores",
    "dnxhr",
    "ffv1",
    "h264_nvenc",
    "h265_nvenc",
    "av1_nvenc",
    "dpx",
    "exr",
    "jpeg",
    "png",
    "tiff",
]
# Of a codec of still pictures each frame is a file of its own, and its "container" the files' ending.
Still = Literal["dpx", "exr", "jpg", "png", "tif"]
Container = Literal["mp4", "mov", "mkv"] | Still
STILLS: dict[str, Still] = {"dpx": "dpx", "exr": "exr", "jpeg": "jpg", "png": "png", "tiff": "tif"}
# Bumped when the same frames and settings give another picture stream.
ENCODE_VERSION = 3
# SVT-AV1 would write a banner to the terminal; 1: errors only.
os.environ.setdefault("SVT_LOG", "1")
# Still pictures are put into one file only to learn what they weigh.
MUXER = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"} | dict.fromkeys(STILLS.values(), "mov")


@dataclass(frozen=True)
class EncodeSettings:
    """How the picture of a master is encoded.

    Attributes:
        codec: "h265" unless asked otherwise.
        quality: constant rate factor, lower is better (h264 and h265 0..51, av1 and vp9 0..63, NVENC 0..51); of prores
            the profile, higher is better (0 proxy .. 5 4444xq), of dnxhr with 8 bits too (0 lb, 1 sq, 2 hq); ffv1 is
            lossless and has none. None takes a visually transparent default.
        preset: the encoder's own speed preset (vp9: `cpu-used`, 0..8); None takes its default.
        bit_depth: of the master; 0 means 10, or the source's if that is deeper.
        chroma: "source" keeps the source's subsampling as far as the codec can.
        options: further encoder options, passed on as they are.
    """

    codec: Codec = "h265"
    quality: int | None = None
    preset: str | None = None
    bit_depth: int = 0
    chroma: Literal["source", "420", "422", "444"] = "source"
    options: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class _Encoder:
    name: str
    containers: tuple[Container, ...]
    depths: tuple[int, ...]
    chroma: tuple[str, ...]
    gray: bool
    quality_option: str
    quality: int | None
    fixed: tuple[tuple[str, str], ...]
    threads: int  # pinned where the count changes the bitstream; 0: one a core
    smallest: tuple[int, int] = (1, 1)  # width and height below which the encoder writes past its own memory
    preset_option: str = "preset"
    memory: tuple[tuple[str, str], ...] = ()  # by planar format: how it wants the same samples laid out
    alpha: tuple[str, ...] = ()  # layouts with alpha that it takes


_FFV1_ALPHA = (
    "yuva420p", "yuva422p", "yuva444p", "yuva420p9le", "yuva422p9le", "yuva444p9le", "yuva420p10le", "yuva422p10le",
    "yuva444p10le", "yuva422p12le", "yuva444p12le", "yuva420p16le", "yuva422p16le", "yuva444p16le", "gbrap10le",
    "gbrap12le", "gbrap14le", "gbrap16le",
)  # fmt: skip
_NVENC = (("rc", "vbr"), ("b", "0"))
_DNXHR_8_BIT = ("dnxhr_lb", "dnxhr_sq", "dnxhr_hq")
_ENCODERS: dict[str, _Encoder] = {
    "h264": _Encoder(
        "libx264", ("mp4", "mov", "mkv"), (8, 10), ("420", "422", "444"), True, "crf", 16, (("a53cc", "1"),), 8
    ),
    "h265": _Encoder(
        "libx265", ("mp4", "mov", "mkv"), (8, 10, 12), ("420", "422", "444"), True, "crf", 16,
        (("x265-params", "frame-threads=3:info=0:log-level=error"), ("a53cc", "1")), 0, (64, 16),
    ),
    "av1": _Encoder("libsvtav1", ("mp4", "mkv"), (8, 10), ("420",), False, "crf", 20, (), 0, (64, 64)),
    # Of PyAV's build: eight bits alone. Rows are coded one after another, so that threads leave no trace.
    "vp9": _Encoder(
        "libvpx-vp9", ("mkv", "mp4"), (8,), ("420", "422", "444"), False, "crf", 18,
        (("b", "0"), ("row-mt", "0"), ("tile-columns", "1"), ("auto-alt-ref", "1"), ("lag-in-frames", "25")), 0,
        preset_option="cpu-used",
    ),
    "prores": _Encoder("prores_ks", ("mov", "mkv"), (10,), ("422", "444"), False, "profile", 3, (), 0,
                       preset_option="", alpha=("yuva444p10le",)),
    "dnxhr": _Encoder("dnxhd", ("mov",), (8, 10), ("422", "444"), False, "", None, (), 0, (256, 120), ""),
    "ffv1": _Encoder(
        "ffv1", ("mkv", "mp4"), (8, 9, 10, 12, 14, 16), ("420", "422", "444"), True, "", None,
        (("level", "3"), ("slicecrc", "1"), ("g", "1")), 0, preset_option="", alpha=_FFV1_ALPHA,
    ),
    "h264_nvenc": _Encoder("h264_nvenc", ("mp4", "mov", "mkv"), (8,), ("420",), False, "cq", 16, _NVENC, 0, (160, 64)),
    "h265_nvenc": _Encoder("hevc_nvenc", ("mp4", "mov", "mkv"), (8, 10), ("420",), False, "cq", 16, _NVENC, 0,
                           (160, 64), memory=(("yuv420p10le", "p010le"),)),
    "av1_nvenc": _Encoder("av1_nvenc", ("mp4", "mkv"), (8, 10), ("420",), False, "cq", 18, _NVENC, 0, (192, 128),
                          memory=(("yuv420p10le", "p010le"),)),
    # Still pictures; those without a chroma take RGB alone.
    "dpx": _Encoder("dpx", ("dpx",), (8, 10, 12, 16), (), False, "", None, (), 0, preset_option="",
                    memory=(("gbrp", "rgb24"), ("gbrp16le", "rgb48le"))),
    "exr": _Encoder("exr", ("exr",), (16,), (), False, "", None, (), 0, preset_option="",
                    memory=(("gbrp16le", "gbrpf32le"),)),
    "jpeg": _Encoder("mjpeg", ("jpg",), (8,), ("420", "422", "444"), False, "qmin", 2, (), 1, preset_option=""),
    "png": _Encoder("png", ("png",), (8, 16), (), True, "", None, (), 0, preset_option="",
                    memory=(("gbrp", "rgb24"), ("gbrp16le", "rgb48be"), ("gray16le", "gray16be"),
                            ("gbrap", "rgba"), ("gbrap16le", "rgba64be")), alpha=("gbrap", "gbrap16le")),
    "tiff": _Encoder("tiff", ("tif",), (8, 16), (), True, "", None, (), 0, preset_option="",
                     memory=(("gbrp", "rgb24"), ("gbrp16le", "rgb48le"), ("gbrap", "rgba"), ("gbrap16le", "rgba64le")),
                     alpha=("gbrap", "gbrap16le")),
}  # fmt: skip
_ORDINARY = (720, 1280)  # rows and columns that every encoder takes
_CHROMA = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "411": (2, 0), "440": (0, 1), "410": (2, 2)}


def containers_for(codec: Codec) -> tuple[Container, ...]:
    """The containers a codec may go into, the natural one first."""
    return _ENCODERS[codec].containers


def require_place_for_alpha(settings: EncodeSettings, source: Layout, label: str) -> None:
    """See that nothing that can be seen through becomes a master that cannot.

    Raises:
        UnsupportedSource: the source has alpha, and masters of this codec have no place for it.
    """
    if source.alpha and not _ENCODERS[settings.codec].alpha:
        holding = ", ".join(codec for codec, encoder in _ENCODERS.items() if encoder.alpha)
        raise UnsupportedSource(
            f"{label}: has an alpha channel, for which {settings.codec} masters have no place. Choose another"
            f" master.codec ({holding}), export it without alpha, or key and fill as two files."
        )


def master_layout(settings: EncodeSettings, source: Layout, label: str) -> Layout:
    """The layout of a master: the source's family and subsampling as far as the codec can, never less depth.

    RGB becomes 4:4:4 (only FFV1 keeps it RGB); 4:1:1, 4:4:0 and 4:1:0 become 4:2:2, 4:4:4 and 4:2:0. Beside alpha all
    depths and subsamplings that the codec has not become the next that hold as much.

    Raises:
        UnsupportedSource: the codec cannot hold the source's depth, or its alpha.
    """
    require_place_for_alpha(settings, source, label)
    found = _opaque_layout(settings, source, label)
    if not source.alpha:
        return found
    deep = [depth for depth in _ENCODERS[settings.codec].depths if depth >= found.depth]
    finer = ((found.chroma_x, found.chroma_y), (0, 0))
    possible = (replace(found, depth=depth, chroma_x=x, chroma_y=y, alpha=True) for x, y in finer for depth in deep)
    fitting = next((layout for layout in possible if layout.pix_fmt in _ENCODERS[settings.codec].alpha), None)
    if fitting is None:
        raise UnsupportedSource(
            f"{label}: has an alpha channel, for which {settings.codec} masters have no place beside {found.pix_fmt}."
            ' Choose master.codec = "ffv1".'
        )
    return fitting


def _opaque_layout(settings: EncodeSettings, source: Layout, label: str) -> Layout:
    """The same, of colours alone."""
    encoder = _ENCODERS[settings.codec]
    if source.family == "light" or settings.codec == "exr":
        if source.family == "light" and settings.codec == "exr":
            return source
        what = (
            "holds light in floats, which other masters than EXR would cut off at black and white; set master.codec ="
            ' "exr"'
            if source.family == "light"
            else 'holds no light in floats, and EXR masters are made of EXR files alone; set master.codec = "dpx", say'
        )
        raise UnsupportedSource(f"{label}: {what}.")
    wanted = settings.bit_depth or max(min(10, max(encoder.depths)), source.depth)
    depth = next((d for d in encoder.depths if d >= wanted), 0)
    if depth < source.depth:
        others = "ffv1 holds 16" if source.alpha else "h265 holds 12, ffv1 16"
        raise UnsupportedSource(
            f"{label}: has {source.depth} bits a sample and {settings.codec} masters would hold"
            f" {depth or max(encoder.depths)}; choose another master.codec ({others}) or raise master.bit_depth."
        )
    if source.family == "gray" and encoder.gray and settings.chroma == "source":
        return Layout("gray", depth)
    if source.family == "rgb" and settings.codec == "ffv1" and settings.chroma == "source":
        return Layout("rgb", max(depth, 10))  # FFV1 has no planar 8-bit RGB
    if not encoder.chroma:
        return Layout("rgb", depth)
    native = next(n for n, shift in _CHROMA.items() if shift == (source.chroma_x, source.chroma_y))
    if source.family == "gray":
        native = "420"
    name = native if settings.chroma == "source" else settings.chroma
    if name not in encoder.chroma:
        name = {"411": "422", "440": "444", "410": "420"}.get(name, name)
    if name not in encoder.chroma:
        name = encoder.chroma[0]
    if settings.codec == "dnxhr" and name == "444":
        depth = 10
    return Layout("yuv", depth, *_CHROMA[name])


def master_colour(source: Colour, layout: Layout, codec: str = "") -> Colour:
    """The colour of a master: the source's, but for what goes with turning RGB into YUV (BT.709), or YUV into RGB."""
    if codec == "jpeg":
        return Colour(5, source.primaries, source.transfer, True, "centre", source.assumed)  # as JFIF has it
    if layout.family == "rgb" and source.matrix != 0:
        return Colour(0, source.primaries, source.transfer, True, "centre", source.assumed)
    if source.matrix == 0 and layout.family not in {"rgb", "light"}:
        return Colour(1, source.primaries, source.transfer, False, "left", source.assumed)
    return replace(source, siting=siting_kept(source, layout, codec))


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
        frame_rate: average; steers rate control only.
        sample_aspect: pixel width over height.
        mastering: for the container to say, where the codec's own stream does not.
        projection: for the container to say.

    Returns:
        The stream, and its encoder, which is not the stream's own where the container is to say one of these.
    """
    encoder = _ENCODERS[settings.codec]
    stream: Any
    graded = mastering if settings.codec in TEMPLATED else None
    if projection or graded:
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
        _tag(each, colour)
    stream.time_base = context.time_base = time_base
    context.framerate = frame_rate or 25
    context.options = option_for(colour.siting, layout) | _options(settings, height, width, layout)
    _pin(context, settings)
    if settings.codec in {"h265", "h265_nvenc"} and container.format.name in {"mp4", "mov"}:
        stream.codec_context.codec_tag = context.codec_tag = "hvc1"  # what QuickTime and Safari ask for
    if context is not stream.codec_context:
        context.open()
        stream.codec_context.extradata = context.extradata
    return stream, context


def still_encoder(
    settings: EncodeSettings, height: int, width: int, layout: Layout, colour: Colour, sample_aspect: Fraction,
    rate: Fraction,
) -> av.VideoCodecContext:  # fmt: skip
    """An encoder each of whose packets is an image file; for the rest see `add_picture`."""
    context = av.CodecContext.create(_ENCODERS[settings.codec].name, "w")
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
    context.thread_count = _ENCODERS[settings.codec].threads
    context.flags |= av.codec.context.Flags.bitexact


def require_encodable(settings: EncodeSettings, height: int, width: int, layout: Layout, label: str) -> None:
    """Find out before any work whether the encoder takes this picture.

    Raises:
        UnsupportedSource: it does not; the message says what would.
    """
    encoder = _ENCODERS[settings.codec]
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
    encoder = _ENCODERS[settings.codec]
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
    encoder = _ENCODERS[settings.codec]
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
    return dict(_ENCODERS[settings.codec].memory).get(layout.pix_fmt, layout.pix_fmt)


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
