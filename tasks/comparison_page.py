"""A comparison as one HTML page for a person to choose from. It asks nothing of any network, and is below 10 MB."""

from __future__ import annotations

import itertools

import torch

from tasks.comparison import SOURCE, Comparison
from tasks.media.picture.preview import jpeg
from tasks.pages import data_uri, render
from vsr_model.classical import resize

MOST_BYTES = 10_000_000
# JPEG's scale from best to coarse, then pictures of a half of the size, and so on: the first that is small enough.
_QUALITIES = (3, 6, 12)
_SHRUNK = (1, 2, 4, 8, 16)
_OVERVIEW, _STRIP = 480, 1920  # columns


def comparison_page(comparison: Comparison) -> str:
    """The page."""
    for shrunk, quality in itertools.product(_SHRUNK, _QUALITIES):
        page = _page(comparison, quality, shrunk)
        if len(page.encode()) < MOST_BYTES:
            break
    return page


def strip(comparison: Comparison) -> bytes:
    """The moment in the middle by each candidate, from left to right, the source first: a JPEG."""
    middle = len(comparison.moments) // 2
    pictures = [each.pictures_T3HW[middle] for each in comparison.candidates]
    shrunk = -(-sum(picture_3HW.shape[-1] for picture_3HW in pictures) // _STRIP)
    return jpeg(torch.cat([_reduced(picture_3HW, shrunk) for picture_3HW in pictures], dim=2), 5)


def _page(comparison: Comparison, quality: int, shrunk: int) -> str:
    rows, columns = comparison.size
    part = comparison.part
    high, wide = part.within(rows, columns)
    pictures = [
        [data_uri(jpeg(_reduced(picture_3HW, shrunk), quality)) for picture_3HW in each.pictures_T3HW]
        for each in comparison.candidates
    ]
    names = ["source, enlarged" if each.model == SOURCE else each.model for each in comparison.candidates]
    return render(
        "comparison.html",
        title=comparison.title,
        scale=comparison.scale,
        shrunk=shrunk,
        moments=[{"shown": _clock(seconds)} for seconds in comparison.moments],
        candidates=[
            {"name": name, "rate": each.rate, "fidelity": each.fidelity}
            for name, each in zip(names, comparison.candidates, strict=True)
        ],
        pictures=pictures,
        left=0 if len(names) == 2 else 1,
        right=len(names) - 1,
        overview=data_uri(jpeg(_reduced(comparison.overview_3HW, -(-columns // _OVERVIEW)), max(quality, 5))),
        part={
            "left": 100 * part.left / columns,
            "top": 100 * part.top / rows,
            "width": 100 * wide / columns,
            "height": 100 * high / rows,
        },
        left_out=comparison.left_out,
        device=comparison.device,
    )


def _reduced(picture_3HW: torch.Tensor, by: int) -> torch.Tensor:
    rows, columns = (max(16, side // by) for side in picture_3HW.shape[-2:])
    return resize(picture_3HW.float()[None] / 255, rows, columns)[0]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}"
