"""A comparison as one HTML page for a person to choose from. It asks nothing of any network, and is below 10 MB."""

from __future__ import annotations

import torch

from tasks.comparison import SOURCE, Comparison
from tasks.media.preview import jpeg
from tasks.pages import data_uri, render
from vsr_model.classical import resize

MOST_BYTES = 10_000_000
# JPEG's scale from best to coarse; the first that leaves the page small enough is taken.
_QUALITIES = (3, 5, 8, 12, 18, 25, 31)
_OVERVIEW = 480  # columns


def comparison_page(comparison: Comparison) -> str:
    """The page."""
    for quality in _QUALITIES:
        page = _page(comparison, quality)
        if len(page.encode()) < MOST_BYTES:
            break
    return page


def _page(comparison: Comparison, quality: int) -> str:
    rows, columns = comparison.size
    part = comparison.part
    high, wide = part.within(rows, columns)
    # Twice: the two that are seen without a script are in the page's body as well.
    pictures = [
        [data_uri(jpeg(picture_3HW.float() / 255, quality)) for picture_3HW in each.pictures_T3HW]
        for each in comparison.candidates
    ]
    names = ["source, enlarged" if each.model == SOURCE else each.model for each in comparison.candidates]
    return render(
        "comparison.html",
        title=comparison.title,
        scale=comparison.scale,
        moments=[{"shown": _clock(seconds)} for seconds in comparison.moments],
        candidates=[
            {"name": name, "rate": each.rate, "fidelity": each.fidelity}
            for name, each in zip(names, comparison.candidates, strict=True)
        ],
        pictures=pictures,
        left=0 if len(names) == 2 else 1,
        right=len(names) - 1,
        overview=data_uri(jpeg(_overview(comparison.overview_3HW), max(quality, 5))),
        part={
            "left": 100 * part.left / columns,
            "top": 100 * part.top / rows,
            "width": 100 * wide / columns,
            "height": 100 * high / rows,
        },
        left_out=comparison.left_out,
        device=comparison.device,
    )


def _overview(picture_3HW: torch.Tensor) -> torch.Tensor:
    rows, columns = picture_3HW.shape[-2:]
    wide = min(_OVERVIEW, columns)
    return resize(picture_3HW.float()[None] / 255, max(1, rows * wide // columns), wide)[0]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}"
