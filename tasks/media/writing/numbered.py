"""Masters in numbered files: each frame a file of its own, with what the header of its source's file says besides.

PNG and JPEG are written by FFmpeg's encoders. DPX, EXR and TIFF, whose headers say more than PyAV can write, by
OpenImageIO, an optional part (`remaster[sequences]`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from tasks.errors import SourceError, StoreError, UsageError
from tasks.media.picture.colour import Colour
from tasks.media.picture.halves import halves
from tasks.media.picture.pixels import Layout, planes_of_frame
from tasks.media.reading.movie import exact_rate
from tasks.media.writing.codecs import EncodeSettings
from tasks.media.writing.encode import coded_format, still_encoder
from tasks.media.writing.icc import with_profile

# Bumped when the same frames and headers would give other files.
NUMBERED_VERSION = 1
WITH_HEADERS = frozenset({"dpx", "exr", "tiff"})
# What a header says: names, OpenImageIO's types, values.
Header = tuple[tuple[str, Any, Any], ...]
# True of the file that was read, and not of the one that is made of it.
_OF_THE_FILE = {
    "oiio:BitsPerSample", "oiio:subimages", "oiio:RowsPerChunk", "planarconfig", "dpx:ImageDescriptor",
    "dpx:EndOfLinePadding", "dpx:EndOfImagePadding", "dpx:Packing", "dpx:Version", "tiff:Compression",
    "tiff:PhotometricInterpretation", "tiff:PlanarConfiguration", "tiff:RowsPerStrip", "openexr:lineOrder",
}  # fmt: skip
# Without a date in the source's header a writer would put the hour in: the same work must give the same bytes.
_NO_DATE = "1970:01:01 00:00:00"
# DPX's words, which mean primaries and transfer alike, by H.273 transfer.
_DPX_COLOURS = {1: "ITU-R 709-4", 5: "ITU-R 601-5 system B or G", 6: "ITU-R 601-5 system M"}


def library() -> Any:
    """OpenImageIO.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import OpenImageIO
    except ImportError as error:
        raise UsageError(
            "DPX, EXR and TIFF files are written by OpenImageIO, which is not installed: `pip install"
            ' "remaster[sequences]"`.'
        ) from error
    return OpenImageIO


def read_header(path: str, label: str) -> Header:
    """What the header of an image file says besides its picture's shape.

    Args:
        path: of a local file.
        label: what a person calls it.

    Raises:
        SourceError: it cannot be read.
    """
    oiio = library()
    image = oiio.ImageInput.open(path)
    if image is None:
        raise SourceError(f"{label}: its header cannot be read ({oiio.geterror()}).")
    said = image.spec().extra_attribs
    image.close()
    return tuple((each.name, each.type, each.value) for each in said if each.name not in _OF_THE_FILE)


def write_files(
    place: Callable[[int], str],
    settings: EncodeSettings,
    layout: Layout,
    colour: Colour,
    sample_aspect: Fraction,
    fps: Fraction,
    frames: Iterable[av.VideoFrame],
    headers: Iterable[Header] | None = None,
    icc: bytes = b"",
) -> int:
    """Write frames as numbered files; returns how many.

    Args:
        place: local path of the file of frame 0, 1, ...
        settings: of the codec.
        layout, colour: of the frames.
        sample_aspect: pixel width over height.
        fps: frames a second.
        frames: in order.
        headers: of each frame's file, if they are known; only DPX, EXR and TIFF hold them.
        icc: colour profile of all frames; PNG, JPEG and TIFF hold one.

    Raises:
        OSError: the disk is full or not writable.
        UsageError: OpenImageIO is needed, and not installed.
    """
    if settings.codec not in WITH_HEADERS:
        return _encode(place, settings, layout, colour, sample_aspect, fps, frames, icc)
    options = dict(settings.options)
    before = (*_unless_said(settings, colour), *(_of_profile(icc) if icc and settings.codec == "tiff" else ()))

    def write(number: int, pixels: npt.NDArray[Any], header: Header) -> None:
        after = (*_time_and_shape(settings, sample_aspect, fps, header), *_of_alpha(layout, header))
        _write(place(number), pixels, layout, (*before, *header, *after), options)

    library()
    pending: deque[Future[None]] = deque()
    number = -1
    with ThreadPoolExecutor(os.cpu_count() or 1, "write") as writers:
        for number, (frame, header) in enumerate(zip(frames, headers or repeat(()), strict=False)):
            if len(pending) > 2 * (os.cpu_count() or 1):
                pending.popleft().result()
            pending.append(writers.submit(write, number, _pixels(frame, layout), header))
        for each in pending:
            each.result()
    return number + 1


def _unless_said(settings: EncodeSettings, colour: Colour) -> Header:
    """What a file says if its source's does not."""
    oiio = library()
    words = _DPX_COLOURS.get(colour.transfer) if settings.codec == "dpx" else None
    of_colour = (
        (("dpx:Transfer", oiio.TypeString, words), ("dpx:Colorimetric", oiio.TypeString, words)) if words else ()
    )
    return (("DateTime", oiio.TypeString, _NO_DATE), *of_colour)


def _time_and_shape(settings: EncodeSettings, sample_aspect: Fraction, fps: Fraction, header: Header) -> Header:
    """What every file says, whatever its source's says; a rate that is meant already is left as it is written."""
    oiio = library()
    aspect = ("PixelAspectRatio", oiio.TypeFloat, float(sample_aspect))
    if settings.codec == "tiff":
        return (aspect,)
    name = "dpx:FrameRate" if settings.codec == "dpx" else "framesPerSecond"
    said = next((value for each, _, value in header if each == name), None)
    if said is not None and _rate(said) == fps:
        return (aspect,)
    if settings.codec == "dpx":
        return (aspect, (name, oiio.TypeFloat, float(fps)))
    return (aspect, (name, oiio.TypeRational, fps.as_integer_ratio()))


def _of_alpha(layout: Layout, header: Header) -> Header:
    """Whether colours are multiplied by their alpha: as the header of a TIFF says; of any other source they are not.

    In EXR they always are, and nothing says so.
    """
    if not layout.alpha or layout.family == "light":
        return ()
    straight = not header or any(name == "tiff:UnassociatedAlpha" and value for name, _, value in header)
    return (("oiio:UnassociatedAlpha", library().TypeInt, int(straight)),)


def _of_profile(icc: bytes) -> Header:
    return (("ICCProfile", library().TypeDesc(f"uint8[{len(icc)}]"), np.frombuffer(icc, np.uint8)),)


def _rate(said: Any) -> Fraction | None:
    try:
        return exact_rate(Fraction(*said) if isinstance(said, tuple) else said)
    except (ValueError, TypeError, ZeroDivisionError):
        return None


def _write(path: str, pixels: npt.NDArray[Any], layout: Layout, header: Header, options: dict[str, str]) -> None:
    oiio = library()
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, str(pixels.dtype).replace("float16", "half"))
    for name, kind, value in header:
        spec.attribute(name, kind, value)
    for name, value in options.items():
        spec.attribute(name, value)
    if layout.family != "light":
        spec.attribute("oiio:BitsPerSample", layout.depth)
    output = oiio.ImageOutput.create(path)
    if output is None or not output.open(path, spec) or not output.write_image(pixels) or not output.close():
        # It says that it could not write, and not why: of a full disk the system knows.
        Path(path).write_bytes(bytes(pixels.nbytes))
        why = output.geterror() if output else oiio.geterror()
        raise StoreError(f"{path}: could not be written ({why}).")
    if path.endswith(".dpx"):
        _name_itself(path)


def _name_itself(path: str) -> None:
    """A DPX file holds its own name (SMPTE 268M, bytes 36..135), which the writer takes to be its path just then."""
    with Path(path).open("r+b") as file:
        file.seek(36)
        file.write(os.fsencode(Path(path).name)[:99].ljust(100, b"\0"))


def _pixels(frame: av.VideoFrame, layout: Layout) -> npt.NDArray[Any]:
    """[rows, columns, channels] of a frame: halves, bytes, or 16 bits of which as many are used as the layout has."""
    whole: npt.NDArray[Any] = np.stack(planes_of_frame(frame, layout), axis=-1)
    if layout.family == "light":
        return halves(whole)
    if layout.depth in {8, 16}:
        return whole
    # Scaled by repeating the upper bits, so that the lower ones can be dropped again.
    return (whole << (16 - layout.depth)) | (whole >> (2 * layout.depth - 16))


def _encode(
    place: Callable[[int], str],
    settings: EncodeSettings,
    layout: Layout,
    colour: Colour,
    sample_aspect: Fraction,
    fps: Fraction,
    frames: Iterable[av.VideoFrame],
    icc: bytes,
) -> int:
    encoder: av.VideoCodecContext | None = None
    done = 0

    def keep(packets: list[Any]) -> None:
        nonlocal done
        for packet in packets:
            Path(place(done)).write_bytes(with_profile(bytes(packet), icc) if icc else bytes(packet))
            done += 1

    for number, planar in enumerate(frames):
        wanted = coded_format(settings, layout)
        frame = planar if planar.format.name == wanted else planar.reformat(format=wanted, threads=1)
        if encoder is None:
            encoder = still_encoder(settings, frame.height, frame.width, layout, colour, sample_aspect, fps)
        frame.pts, frame.time_base = number, 1 / fps
        keep(encoder.encode(frame))
    if encoder is not None:
        keep(encoder.encode(None))
    return done
