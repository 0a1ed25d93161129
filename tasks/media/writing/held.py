"""What a master's container and codec can hold of what a picture says of itself. Reads nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.media.reading.projection import Projection
from tasks.media.reading.side_data import NAMES
from tasks.media.writing.bitstream import SAYING_ALL

# What has to do with light beyond SDR is not judged here.
_OF_ANY_PICTURE = ("DISPLAYMATRIX", "STEREO3D", "SPHERICAL", "ICC_PROFILE", "AFD")


def not_held(
    container: str, encoded: str, said: Iterable[str], codec: str, tags: Iterable[str], projection: Projection | None
) -> Iterator[str]:
    """What of the standing side data of a source a master will not hold, each in words.

    Args:
        container: of the master.
        encoded: codec of the master.
        said: PyAV's names of the source's.
        codec: of the source's picture: the headers of TIFF files are carried into others.
        tags: names of the picture stream's tags: Matroska's word for two eyes is one, and is carried as one.
        projection: what of how the source is to be looked at a master can say.
    """
    held = {"AFD"} if encoded in SAYING_ALL else set()
    if container in {"mp4", "mov", "mkv"}:
        held.add("DISPLAYMATRIX")
    if container == "mkv" and "stereo_mode" in {tag.lower() for tag in tags}:
        held.add("STEREO3D")
    if projection and (container == "mkv" or (container in {"mp4", "mov"} and projection.plain)):
        held.update(["STEREO3D"] * bool(projection.stereo) + ["SPHERICAL"] * projection.around)
    if container == "tif" and codec == "tiff":
        held.update(("DISPLAYMATRIX", "ICC_PROFILE"))
    for name in said:
        if name in _OF_ANY_PICTURE and name not in held:
            yield f"the picture's {NAMES[name]} data is not carried: {container} masters are written without"
