"""The page to choose networks on, in a real browser: it is whole, asks for nothing, and its slider moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from tests.browser.opened import DESK, Open
from tests.clips import Clip, make

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preview")
    film = make(folder / "two <shots> & more.mkv", Clip(frames=60, width=160, height=96, cuts=(30,), gop=10))
    page = folder / "page.html"
    models = "lanczos,bicubic,flashvsr-v1.1"
    arguments = ["preview", str(film), "--at", "0:00:01", "--seconds", "1", "--models", models]
    # Published weights are not in the package: that one is named on the page, with the reason.
    assert main([*arguments, "--scale", "2", "--part", "96x64", "--page", str(page)]) in {0, 3}
    return page


class Choosing(Open):
    """The page, and what is chosen on it."""

    @property
    def divider(self) -> Any:
        return self.page.get_by_role("slider", name="Divider between")

    def at(self) -> float:
        """Where the divider is, in percent: of what is seen, not of what the control says."""
        seen = self.page.locator(".wipe-left").evaluate("e => getComputedStyle(e).clipPath")
        shown = self.page.locator(".wipe-stage").evaluate("e => getComputedStyle(e).getPropertyValue('--at')")
        assert "inset" in seen
        return float(str(shown).strip().removesuffix("%"))

    def row(self, name: str) -> str:
        return str(self.page.locator(f".wipe-{name}").get_attribute("src"))


@pytest.fixture
def desk(chromium: Any, page_file: Path) -> Iterator[Choosing]:
    opened = Choosing(chromium, page_file, viewport=DESK)
    yield opened
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []
    opened.context.close()


def test_it_is_one_small_file_that_asks_for_nothing(page_file: Path, desk: Choosing) -> None:
    assert page_file.stat().st_size < 10_000_000
    assert [url for url in desk.requests if url.startswith("file:")] == [page_file.as_uri()]
    assert "two <shots> & more.mkv" in desk.page.inner_text("h1")


def test_the_keyboard_moves_the_divider(desk: Choosing) -> None:
    desk.divider.focus()
    before = desk.at()
    desk.page.keyboard.press("ArrowRight")
    assert desk.at() > before
    desk.page.keyboard.press("Home")
    assert desk.at() == 0
    desk.page.keyboard.press("End")
    assert desk.at() == 100
    assert desk.divider.get_attribute("aria-valuetext").startswith("100% ")


def test_the_pointer_moves_the_divider_and_what_is_seen(desk: Choosing) -> None:
    box = desk.page.locator(".wipe-stage").bounding_box()
    y = box["y"] + box["height"] / 2
    desk.page.mouse.move(box["x"] + box["width"] / 2, y)
    desk.page.mouse.down()
    desk.page.mouse.move(box["x"] + box["width"] / 4, y, steps=4)
    assert abs(desk.at() - 25) <= 1
    clip = {"x": box["x"] + box["width"] * 0.3, "y": box["y"], "width": box["width"] * 0.15, "height": box["height"]}
    right = desk.page.screenshot(clip=clip)
    desk.page.mouse.move(box["x"] + box["width"] * 0.9, y, steps=4)
    desk.page.mouse.up()
    assert abs(desk.at() - 90) <= 1
    assert desk.page.screenshot(clip=clip) != right, "the other picture is not seen there"
    desk.page.mouse.move(box["x"], y)
    assert abs(desk.at() - 90) <= 1, "it follows a pointer that has let go"


def test_other_networks_and_moments_can_be_chosen(desk: Choosing) -> None:
    before = desk.row("left"), desk.row("right")
    desk.page.get_by_label("left", exact=True).select_option("source, enlarged")
    assert desk.row("left") not in before
    assert "source, enlarged on the left" in desk.divider.get_attribute("aria-label")
    chosen = desk.row("left")
    moment = desk.page.get_by_role("slider", name="moment")
    moment.focus()
    desk.page.keyboard.press("End")
    assert desk.row("left") != chosen
    assert desk.page.inner_text("#shown").startswith("0:00:01.9")


def test_every_control_and_picture_has_a_name(desk: Choosing) -> None:
    for role in ("slider", "combobox", "img"):
        for each in desk.page.get_by_role(role).all():
            name = each.get_attribute("aria-label") or each.get_attribute("alt") or each.evaluate(
                "e => e.labels && e.labels[0] && e.labels[0].textContent.trim()"
            )  # fmt: skip
            assert name, each.evaluate("e => e.outerHTML.slice(0, 200)")


def test_a_phone_shows_it_all_and_a_finger_moves_it(chromium: Any, page_file: Path) -> None:
    opened = Choosing(chromium, page_file, viewport=PHONE, has_touch=True, is_mobile=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    box = opened.page.locator(".wipe-stage").bounding_box()
    opened.page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    assert abs(opened.at() - 80) <= 1
    assert opened.complaints == []
    opened.context.close()


def test_it_is_dark_where_that_is_wanted(chromium: Any, page_file: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        opened = Choosing(chromium, page_file, viewport=DESK, color_scheme=scheme)
        shades[scheme] = opened.page.screenshot(clip={"x": 0, "y": 0, "width": 8, "height": 8})
        opened.context.close()
    assert shades["light"] != shades["dark"]
