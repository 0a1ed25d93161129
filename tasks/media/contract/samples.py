"""Rows of the media contract for the samples of the picture: size, shape, sampling, what they mean, and alpha."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tasks.media.contract.inventory import Inventory, Shown
from tasks.media.contract.rows import Row
from tasks.media.contract.rows import kept_or_lost as _row
from tasks.media.picture.colour import UNSPECIFIED, sited_alike, usual_siting
from tasks.media.picture.hdr import HDR_TRANSFERS
from tasks.media.picture.pixels import Layout, layout_of
from tasks.media.reading.pixel_aspect import shown_alike
from tasks.media.writing.codecs import EncodeSettings, master_layout

# Mean alpha of a quarter, as a share of the most there is, that Lanczos may leave another: overshoot is cut off.
_ALPHA_APART = 0.01


def made_sdr(had: Inventory, has: Inventory) -> bool:
    """True if the source was HDR by its transfer, and the master says that it is SDR."""
    return had.colour[2] in HDR_TRANSFERS and has.colour[2] not in {*HDR_TRANSFERS, UNSPECIFIED}


def picture(had: Inventory, has: Inventory, asked: EncodeSettings | None = None) -> Iterator[Row]:
    """Size, shape and sampling of the picture; `asked` is what the master was asked to be, if that is known."""
    sizes = (f"{had.width}x{had.height}", f"{has.width}x{has.height}")
    rows, columns = _square_sides(had)
    alike = shown_alike(had.sample_aspect, has.sample_aspect, has.width)
    squared = not alike and has.sample_aspect == 1 and _one_factor(rows, columns, has)
    if (had.width, had.height) == (has.width, has.height):
        yield Row("size", "kept", *sizes)
    elif squared:
        yield Row("size", "changed", *sizes, f"upscaled x{float(has.width / columns):.3g}, with square pixels")
    elif _one_factor(Fraction(had.height), Fraction(had.width), has):
        yield Row("size", "changed", *sizes, f"upscaled x{has.width / had.width:.3g}")
    else:
        yield Row("size", "lost", *sizes, "the sides do not grow by one factor")
    aspects = (f"{had.sample_aspect}", f"{has.sample_aspect}")
    if squared:
        yield Row("pixel aspect", "changed", *aspects, "squared by choice: the picture is shown as wide as it was")
    elif alike and had.sample_aspect != has.sample_aspect:
        yield Row("pixel aspect", "changed", *aspects, "as near as the codec has numbers for it")
    else:
        yield _row("pixel aspect", had.sample_aspect == has.sample_aspect, *aspects, "the picture is stretched")
    yield _sampling(had.pix_fmt, has.pix_fmt, asked)


def _square_sides(found: Inventory) -> tuple[Fraction, Fraction]:
    """Rows and columns of square pixels that show a picture as it is, neither fewer than it has."""
    aspect = found.sample_aspect
    return found.height / min(aspect, Fraction(1)), found.width * max(aspect, Fraction(1))


def _one_factor(height: Fraction, width: Fraction, has: Inventory) -> bool:
    """True if both sides grow by one factor, but for half of the pixels that share chroma, by which each is rounded."""
    layout = layout_of(has.pix_fmt, "master")
    sides = (height, has.height, 1 << layout.chroma_y), (width, has.width, 1 << layout.chroma_x)
    least = max((2 * after - step) / (2 * before) for before, after, step in sides)
    beyond = min((2 * after + step) / (2 * before) for before, after, step in sides)
    return max(least, Fraction(1)) < beyond


def colour(had: Inventory, has: Inventory, layout: Layout) -> Iterator[Row]:
    """Colour tags: what the source says must be said; what it leaves unsaid may be."""
    names = ("matrix", "primaries", "transfer")
    for name, wanted, held in zip(names, had.colour, has.colour, strict=False):
        seen = (_code(wanted), _code(held))
        if wanted == held:
            yield Row(f"colour {name}", "kept", *seen)
        elif made_sdr(had, has) and held == 1:
            yield Row(f"colour {name}", "changed", *seen, "tone-mapped to SDR, in the colours of BT.709")
        elif name == "matrix" and layout.family == "rgb" and held != UNSPECIFIED:
            yield Row(f"colour {name}", "changed", *seen, "RGB is kept as YUV, which needs one")
        else:
            untagged = wanted in {0, UNSPECIFIED, 3}
            note = "the source does not say; guessed by its size" if untagged else "the tag was lost"
            yield Row(f"colour {name}", "changed" if untagged else "lost", *seen, note)
    full = had.colour[3] == 2 or had.pix_fmt.startswith("yuvj") or layout.family == "rgb"
    seen = ("full" if full else "limited", "full" if has.colour[3] == 2 else "limited")
    if layout.family == "rgb" and seen[0] != seen[1]:
        yield Row("colour range", "changed", *seen, "RGB is kept as YUV of limited range")
    else:
        yield _row("colour range", seen[0] == seen[1], *seen, "black and white are elsewhere now")


def siting(had: Inventory, has: Inventory) -> Iterator[Row]:
    """Where chroma sits, along what it is reduced in both; where nothing is said, the usual place is meant."""
    before, after = layout_of(had.pix_fmt, "source"), layout_of(has.pix_fmt, "master")
    reduced = replace(
        after, chroma_x=min(before.chroma_x, after.chroma_x), chroma_y=min(before.chroma_y, after.chroma_y)
    )
    if not (reduced.chroma_x or reduced.chroma_y):
        return
    wanted, held = (found.siting or usual_siting(found.colour[0]) for found in (had, has))
    seen = (had.siting or f"unsaid, so {wanted}", has.siting or f"unsaid, so {held}")
    if sited_alike(wanted, held, reduced):
        yield Row("chroma siting", "kept", *seen)
    elif made_sdr(had, has) or not after.chroma_y or has.picture.codec == "mjpeg":
        yield Row("chroma siting", "changed", *seen, "chroma is resampled to the one place that it has there")
    else:
        yield Row("chroma siting", "lost", *seen, "colours are shifted against the picture")


def alpha(before: Shown, after: Shown) -> Iterator[Row]:
    """What can be seen through: how much in each quarter of each frame."""
    if before.alpha is None and after.alpha is None:
        return
    seen = (_opacity(before.alpha), _opacity(after.alpha))
    if before.alpha is None or after.alpha is None or len(before.alpha) != len(after.alpha):
        note = "the source has none" if before.alpha is None else "the master has none, or of other frames"
        yield Row("alpha", "lost", *seen, note)
        return
    apart = np.abs(before.alpha - after.alpha).max(axis=1)
    frame = int(apart.argmax())
    note = f"frame {frame} can be seen through otherwise, by {apart[frame]:.3f}"
    most = max(1.0, float(np.abs(before.alpha).max(initial=0)))  # beside light it may be any number
    yield _row("alpha", apart[frame] <= _ALPHA_APART * most, *seen, note)


def _opacity(alpha: npt.NDArray[np.float64] | None) -> str:
    if alpha is None:
        return "-"
    return f"{alpha.mean():.1%} opaque" if np.abs(alpha).max(initial=0) <= 1 else f"{alpha.mean():.4g} on average"


def fewer_by_choice(source: Layout, asked: EncodeSettings, label: str) -> str:
    """Says so where a master of these settings has less colour resolution than its source; else empty."""
    layout = master_layout(asked, source, label)
    return (
        f"has less colour resolution by choice: {asked.codec} as {layout.pix_fmt}" if _coarser(source, layout) else ""
    )


def _coarser(before: Layout, after: Layout) -> bool:
    if before.family == "gray":
        return False
    return after.family == "gray" or after.chroma_x > before.chroma_x or after.chroma_y > before.chroma_y


def _sampling(wanted: str, held: str, asked: EncodeSettings | None) -> Row:
    before, after = layout_of(wanted, "source"), layout_of(held, "master")
    seen = (wanted, held)
    if before == after:
        return Row("pixel format", "kept", *seen)
    if before.alpha and not after.alpha:
        return Row("pixel format", "lost", *seen, "has no alpha")
    if after.depth < before.depth:
        return Row("pixel format", "lost", *seen, "has less depth")
    if asked and _coarser(before, after) and not _coarser(master_layout(asked, before, "source"), after):
        return Row("pixel format", "changed", *seen, fewer_by_choice(before, asked, "source"))
    if _coarser(before, after):
        return Row("pixel format", "lost", *seen, "has less colour resolution")
    return Row("pixel format", "changed", *seen, "holds all that the source's does")


def _code(value: int) -> str:
    return "unsaid" if value == UNSPECIFIED else str(value)
