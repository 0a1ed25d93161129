"""The master's picture codecs: what each can hold, and what a source becomes in it. Encodes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from tasks.errors import UnsupportedSource
from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout
from tasks.media.reading.siting import siting_kept

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
Beside = Literal["audio", "subtitle", "data", "attachment"]
Still = Literal["dpx", "exr", "jpg", "png", "tif"]
Container = Literal["mp4", "mov", "mkv"] | Still
STILLS: dict[str, Still] = {"dpx": "dpx", "exr": "exr", "jpeg": "jpg", "png": "png", "tiff": "tif"}
# Still pictures are put into one file only to learn what they weigh.
MUXER = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"} | dict.fromkeys(STILLS.values(), "mov")


@dataclass(frozen=True)
class EncodeSettings:
    """How the picture of a master is encoded, and what is not to be beside it.

    Attributes:
        codec: "h265" unless asked otherwise.
        quality: constant rate factor, lower is better (h264 and h265 0..51, av1 and vp9 0..63, NVENC 0..51); of prores
            the profile, higher is better (0 proxy .. 5 4444xq), of dnxhr with 8 bits too (0 lb, 1 sq, 2 hq); ffv1 is
            lossless and has none. None takes a visually transparent default.
        preset: the encoder's own speed preset (vp9: `cpu-used`, 0..8); None takes its default.
        bit_depth: of the master; 0 means 10, or the source's if that is deeper.
        chroma: "source" keeps the source's subsampling as far as the codec can.
        options: further encoder options, passed on as they are.
        without: kinds of other tracks of the source that are left out.
    """

    codec: Codec = "h265"
    quality: int | None = None
    preset: str | None = None
    bit_depth: int = 0
    chroma: Literal["source", "420", "422", "444"] = "source"
    options: tuple[tuple[str, str], ...] = field(default=())
    without: tuple[Beside, ...] = ()


@dataclass(frozen=True)
class Encoder:
    """What FFmpeg's encoder of a codec takes, and what it is always told.

    Attributes:
        name: FFmpeg's.
        containers, depths, chroma: that masters of it can have.
        gray: whether it takes pictures without colour.
        quality_option, quality: its name for quality, and what is visually transparent.
        fixed: options.
        threads: pinned where the count changes the bitstream; 0: one a core.
        smallest: width and height below which the encoder writes past its own memory.
        preset_option: its name for speed.
        memory: by planar format, how it wants the same samples laid out.
        alpha: layouts with alpha that it takes.
    """

    name: str
    containers: tuple[Container, ...]
    depths: tuple[int, ...]
    chroma: tuple[str, ...]
    gray: bool
    quality_option: str
    quality: int | None
    fixed: tuple[tuple[str, str], ...]
    threads: int
    smallest: tuple[int, int] = (1, 1)
    preset_option: str = "preset"
    memory: tuple[tuple[str, str], ...] = ()
    alpha: tuple[str, ...] = ()


_FFV1_ALPHA = (
    "yuva420p", "yuva422p", "yuva444p", "yuva420p9le", "yuva422p9le", "yuva444p9le", "yuva420p10le", "yuva422p10le",
    "yuva444p10le", "yuva422p12le", "yuva444p12le", "yuva420p16le", "yuva422p16le", "yuva444p16le", "gbrap10le",
    "gbrap12le", "gbrap14le", "gbrap16le",
)  # fmt: skip
_NVENC = (("rc", "vbr"), ("b", "0"))
ENCODERS: dict[str, Encoder] = {
    "h264": Encoder(
        "libx264", ("mp4", "mov", "mkv"), (8, 10), ("420", "422", "444"), True, "crf", 16, (("a53cc", "1"),), 8
    ),
    "h265": Encoder(
        "libx265", ("mp4", "mov", "mkv"), (8, 10, 12), ("420", "422", "444"), True, "crf", 16,
        (("x265-params", "frame-threads=3:info=0:log-level=error"), ("a53cc", "1")), 0, (64, 16),
    ),
    "av1": Encoder("libsvtav1", ("mp4", "mkv"), (8, 10), ("420",), False, "crf", 20, (), 0, (64, 64)),
    # Of PyAV's build: eight bits alone. Rows are coded one after another, so that threads leave no trace.
    "vp9": Encoder(
        "libvpx-vp9", ("mkv", "mp4"), (8,), ("420", "422", "444"), False, "crf", 18,
        (("b", "0"), ("row-mt", "0"), ("tile-columns", "1"), ("auto-alt-ref", "1"), ("lag-in-frames", "25")), 0,
        preset_option="cpu-used",
    ),
    "prores": Encoder("prores_ks", ("mov", "mkv"), (10,), ("422", "444"), False, "profile", 3, (), 0,
                       preset_option="", alpha=("yuva444p10le",)),
    "dnxhr": Encoder("dnxhd", ("mov",), (8, 10), ("422", "444"), False, "", None, (), 0, (256, 120), ""),
    "ffv1": Encoder(
        "ffv1", ("mkv", "mp4"), (8, 9, 10, 12, 14, 16), ("420", "422", "444"), True, "", None,
        (("level", "3"), ("slicecrc", "1"), ("g", "1")), 0, preset_option="", alpha=_FFV1_ALPHA,
    ),
    "h264_nvenc": Encoder("h264_nvenc", ("mp4", "mov", "mkv"), (8,), ("420",), False, "cq", 16, _NVENC, 0, (160, 64)),
    "h265_nvenc": Encoder("hevc_nvenc", ("mp4", "mov", "mkv"), (8, 10), ("420",), False, "cq", 16, _NVENC, 0,
                           (160, 64), memory=(("yuv420p10le", "p010le"),)),
    "av1_nvenc": Encoder("av1_nvenc", ("mp4", "mkv"), (8, 10), ("420",), False, "cq", 18, _NVENC, 0, (192, 128),
                          memory=(("yuv420p10le", "p010le"),)),
    # Still pictures; those without a chroma take RGB alone.
    "dpx": Encoder("dpx", ("dpx",), (8, 10, 12, 16), (), False, "", None, (), 0, preset_option="",
                    memory=(("gbrp", "rgb24"), ("gbrp16le", "rgb48le"))),
    "exr": Encoder("exr", ("exr",), (16,), (), False, "", None, (), 0, preset_option="",
                    memory=(("gbrp16le", "gbrpf32le"), ("gbrap16le", "gbrapf32le")), alpha=("gbrap16le",)),
    "jpeg": Encoder("mjpeg", ("jpg",), (8,), ("420", "422", "444"), False, "qmin", 2, (), 1, preset_option=""),
    "png": Encoder("png", ("png",), (8, 16), (), True, "", None, (), 0, preset_option="",
                    memory=(("gbrp", "rgb24"), ("gbrp16le", "rgb48be"), ("gray16le", "gray16be"),
                            ("gbrap", "rgba"), ("gbrap16le", "rgba64be")), alpha=("gbrap", "gbrap16le")),
    "tiff": Encoder("tiff", ("tif",), (8, 16), (), True, "", None, (), 0, preset_option="",
                     memory=(("gbrp", "rgb24"), ("gbrp16le", "rgb48le"), ("gbrap", "rgba"), ("gbrap16le", "rgba64le")),
                     alpha=("gbrap", "gbrap16le")),
}  # fmt: skip
_CHROMA = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "411": (2, 0), "440": (0, 1), "410": (2, 2)}


def containers_for(codec: Codec) -> tuple[Container, ...]:
    """The containers a codec may go into, the natural one first."""
    return ENCODERS[codec].containers


def require_place_for_alpha(settings: EncodeSettings, source: Layout, label: str) -> None:
    """See that nothing that can be seen through becomes a master that cannot.

    Raises:
        UnsupportedSource: the source has alpha, and masters of this codec have no place for it.
    """
    if source.alpha and not ENCODERS[settings.codec].alpha:
        of_light = source.family == "light"
        holding = ", ".join(codec for codec, each in ENCODERS.items() if each.alpha and (codec == "exr") == of_light)
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
    deep = [depth for depth in ENCODERS[settings.codec].depths if depth >= found.depth]
    finer = ((found.chroma_x, found.chroma_y), (0, 0))
    possible = (replace(found, depth=depth, chroma_x=x, chroma_y=y, alpha=True) for x, y in finer for depth in deep)
    fitting = next((layout for layout in possible if layout.pix_fmt in ENCODERS[settings.codec].alpha), None)
    if fitting is None:
        raise UnsupportedSource(
            f"{label}: has an alpha channel, for which {settings.codec} masters have no place beside {found.pix_fmt}."
            ' Choose master.codec = "ffv1".'
        )
    return fitting


def _opaque_layout(settings: EncodeSettings, source: Layout, label: str) -> Layout:
    """The same, of colours alone."""
    encoder = ENCODERS[settings.codec]
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
