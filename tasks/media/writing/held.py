"""What a master's container and codec can hold of what a picture says of itself. Reads nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.media.picture.hdr import is_hdr
from tasks.media.reading.probe import Probe
from tasks.media.reading.side_data import NAMES
from tasks.media.writing.bitstream import SAYING_ALL

# What has to do with light beyond SDR is not judged here.
_OF_ANY_PICTURE = ("DISPLAYMATRIX", "STEREO3D", "SPHERICAL", "ICC_PROFILE", "AFD")


def not_held(container: str, encoded: str, probe: Probe, family: str = "") -> Iterator[str]:
    """What of the standing side data of a source a master will not hold, each in words.

    Args:
        container: of the master.
        encoded: codec of the master.
        probe: of the source.
        family: of an image file's layout.
    """
    projection = probe.projection
    (tags,) = (stream.metadata for stream in probe.streams if stream.index == probe.stream)
    held = {"AFD"} if encoded in SAYING_ALL else set()
    if container in {"mp4", "mov", "mkv"}:
        held.add("DISPLAYMATRIX")
    # Matroska's word for two eyes is a tag, and is carried as one.
    if container == "mkv" and "stereo_mode" in {tag.lower() for tag in tags}:
        held.add("STEREO3D")
    if projection and (container == "mkv" or (container in {"mp4", "mov"} and projection.plain)):
        held.update(["STEREO3D"] * bool(projection.stereo) + ["SPHERICAL"] * projection.around)
    if container == "tif" and probe.codec == "tiff":
        held.add("DISPLAYMATRIX")  # as headers of TIFF files are carried into others
    if holds_icc(container, probe, family):
        held.add("ICC_PROFILE")
    for name in probe.side_data:
        if name in _OF_ANY_PICTURE and name not in held:
            yield f"the picture's {NAMES[name]} data is not carried: {container} masters are written without"


def holds_icc(container: str, probe: Probe, family: str) -> bool:
    """True if image files of this kind, with samples of this family, are given the source's colour profile.

    One of gray or of inks is none of colours. What is HDR may be brought to SDR, of which its profile knows nothing.
    """
    space = "GRAY" if family == "gray" else "RGB"
    return container in {"png", "jpg", "tif"} and probe.icc == space and not is_hdr(probe.colour)
