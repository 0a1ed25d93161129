"""What can be seen through is refused, also where the format of its frames does not show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import UnsupportedSource
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.records import Title
from tasks.scan import scan
from tasks.store import Store
from tests.torture import PALETTE, Maker, converted

HALF = "format=rgba,colorchannelmixer=aa=0.5"
SEE_THROUGH: dict[str, tuple[Maker, str]] = {
    "vp9.webm": (converted("-an", "-vf", HALF, "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"), "alpha_mode"),
    "vp8.webm": (
        converted("-an", "-vf", HALF, "-c:v", "libvpx", "-auto-alt-ref", "0", "-pix_fmt", "yuva420p"), "alpha_mode",
    ),
    "palette.mov": (
        converted(
            "-an", "-vf", "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(gt(X,32),255,0)',split[a][b];"
            "[a]palettegen[p];[b][p]paletteuse", "-c:v", "png", "-pix_fmt", "pal8",
        ), "in the palette",
    ),
    "rgba.mov": (converted("-an", "-c:v", "png", "-pix_fmt", "rgba"), "alpha channel"),
}  # fmt: skip


def examined(path: Path, write: Maker) -> Title:
    write(path)
    (title,) = scan(str(path), str(path.parent / "out"), read_profile(None, {}))
    return title


@pytest.mark.parametrize("name", SEE_THROUGH)
def test_transparency_is_refused_wherever_it_lies(name: str, tmp_path: Path) -> None:
    write, words = SEE_THROUGH[name]
    assert words in examined(tmp_path / name, write).refused


def test_transparency_that_comes_later_is_found_when_the_title_is_planned(tmp_path: Path) -> None:
    later = HALF.replace("aa=0.5", "aa=0") + ":enable='gt(n,5)',split[a][b];[a]palettegen[p];[b][p]paletteuse"
    title = examined(tmp_path / "later.mov", converted("-an", "-vf", later, "-c:v", "png", "-pix_fmt", "pal8"))
    assert not title.refused
    with pytest.raises(UnsupportedSource, match=r"later\.mov: is transparent \(in the palette\)"):
        plan_title(title, read_profile(None, {}), Store(str(tmp_path / "store")))


def test_a_palette_that_is_opaque_is_a_picture_like_any_other(tmp_path: Path) -> None:
    """Even if there is a transparent colour in it that no pixel has."""
    for number, extra in enumerate(([], ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"])):
        write = converted(*PALETTE, *extra, "-c:v", "png")
        title = examined(tmp_path / f"{number}.mov", write)
        assert not title.refused
        assert title.probe is not None and title.probe.pix_fmt == "pal8"
