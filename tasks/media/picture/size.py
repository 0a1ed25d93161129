"""How large a result is: a scale as people write it, and the one rule by which a master's size follows from it.

A side of a master is the source's times the scale. Where the scale is no whole number, it is the nearest multiple of
the pixels that share a sample of the master's chroma (even sides of 4:2:0), the larger of two as near; so is the place
of what lies within the picture, as black bars do. So is a side that grows more than the other to make pixels square.
All else that has to know a size asks here, or sees it on pictures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from tasks.media.picture.bars import Bars
from tasks.media.picture.pixels import Layout
from vsr_model.sizes import enlarged

Scale = int | str
"""A factor as `exact_scale` writes it; `Fraction` takes it as it is."""

_WRITTEN = re.compile(r"\d{1,9}(\.\d{1,17}|/0*[1-9]\d{0,8})?", re.ASCII)


def exact_scale(value: object) -> Scale:
    """A factor as it is written everywhere: 2 for 2.0 or "4/2", "1.5" for 1.5 or "3/2", else like "4/3".

    Raises:
        ValueError: not a number, a decimal or a fraction.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not _WRITTEN.fullmatch(str(value)):
        raise ValueError(f"{value} is no scale; write 2, 1.5 or 4/3")
    exact = Fraction(str(value))
    if exact.denominator == 1:
        return exact.numerator
    decimal = Decimal(exact.numerator) / exact.denominator
    return f"{decimal:f}" if Fraction(decimal) == exact else str(exact)


@dataclass(frozen=True)
class Enlargement:
    """What of a master lies where, for what lies somewhere in its source.

    Attributes:
        scale: of the master's sides to the source's.
        down, across: rows and columns that sizes are multiples of; 1 for a whole scale.
        aspect: pixel width over height of the source, where the master's are to be square: one side is that longer.
    """

    scale: Scale
    down: int = 1
    across: int = 1
    aspect: Fraction = Fraction(1)

    @staticmethod
    def of(scale: Scale, layout: Layout) -> Enlargement:
        """By a scale, to a master of this layout."""
        whole = isinstance(scale, int)
        return Enlargement(scale) if whole else Enlargement(scale, 1 << layout.chroma_y, 1 << layout.chroma_x)

    def squared(self, aspect: Fraction, layout: Layout) -> Enlargement:
        """The same, to square pixels; `aspect` is the source's, and no side becomes shorter than it was."""
        down = 1 << layout.chroma_y if aspect < 1 else self.down
        across = 1 << layout.chroma_x if aspect > 1 else self.across
        return Enlargement(self.scale, down, across, aspect)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of what has `height` and `width` in the source."""
        factor = Fraction(self.scale)
        rows = enlarged(height, factor / min(self.aspect, Fraction(1)), self.down)
        return rows, enlarged(width, factor * max(self.aspect, Fraction(1)), self.across)

    def bars(self, bars: Bars, height: int, width: int) -> Bars:
        """The bars of a source of `height` x `width`, that between them included, in pixels of the master."""
        rows, columns = self.size(height, width)
        top, left = self.size(bars.top, bars.left)
        bottom, right = self.size(height - bars.bottom, width - bars.right)
        return Bars(top, rows - bottom, left, columns - right)
