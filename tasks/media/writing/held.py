"""What a master's container and codec can hold of what a picture says of itself. Reads nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.media.reading.probe import Probe
from tasks.media.reading.side_data import NAMES
from tasks.media.writing.bitstream import SAYING_ALL

# What has to do with light beyond SDR is not judged here.
_OF_ANY_PICTURE = ("DISPLAYMATRIX", "STEREO3D", "SPHERICAL", "ICC_PROFILE", "AFD")


def not_held(container: str, encoded: str, probe: Probe) -> Iterator[str]:
    """What of the standing side data of a source a master will not hold, each in words.

    Args:
        container: of the master.
        encoded: codec of the master.
        probe: of the source.
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
    if holds_icc(container, probe):
        held.add("ICC_PROFILE")
    for name in probe.side_data:
        if name in _OF_ANY_PICTURE and name not in held:
            yield f"the picture's {NAMES[name]} data is not carried: {container} masters are written without"


def holds_icc(container: str, probe: Probe) -> bool:
    """True if image files of this kind are given the source's colour profile: one of gray is none of colours."""
    becomes_colours = probe.pix_fmt.startswith("ya") or (probe.layout.family == "gray" and container == "jpg")
    return "ICC_PROFILE" in probe.side_data and container in {"png", "jpg", "tif"} and not becomes_colours
