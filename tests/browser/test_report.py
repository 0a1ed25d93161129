"""The pages of a real run in a real browser: whole, silent, without a network, and its pictures are what was made."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests import broken
from tests.browser.opened import DESK, PHONE, Open
from tests.clips import Clip, make
from tests.conftest import Remaster

pytestmark = pytest.mark.browser

# Lowest contrast of text against what is behind it, by class.
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
GOOD, BAD = "two <shots> & more.mkv", "torn.mkv"


@dataclass(frozen=True)
class Reported:
    """A run of a library with one good title and one that is torn, and its pages."""

    run: Path
    output: Path

    def title(self, name: str) -> Path:
        return next(page for page in (self.run / "titles").glob("*.html") if f"<h1>{name}" in page.read_text())


@pytest.fixture(scope="module")
def reported(remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("reported")
    make(folder / "films" / GOOD, Clip(frames=60, width=320, height=180, cuts=(30,), gop=10))
    broken.cut(folder / "films" / BAD, 0.6, make(folder / "whole.mkv", Clip(frames=24)))
    settings = ("--scale", "2", "--set", "shards.frames=30", "--set", "master.preset=ultrafast")
    result = remaster("run", folder / "films", folder / "out", *settings)
    assert result.returncode == 3, result.stdout + result.stderr
    (run,) = (folder / "out" / ".remaster" / "runs").iterdir()
    return Reported(run, folder / "out")


@pytest.fixture(params=["the run's page", "the title's page"])
def page_file(request: pytest.FixtureRequest, reported: Reported) -> Path:
    if request.param == "the run's page":
        return reported.run / "report.html"
    return reported.title("two &lt;shots&gt; &amp; more.mkv")


@pytest.fixture
def desk(chromium: Any, page_file: Path) -> Iterator[Open]:
    with Open(chromium, page_file, viewport=DESK) as opened:
        yield opened


def at(opened: Open) -> float:
    """Where the divider is, in percent: of what is seen, not of what the control says."""
    shown = opened.page.locator(".wipe-stage").evaluate("e => getComputedStyle(e).getPropertyValue('--at')")
    return float(str(shown).strip().removesuffix("%"))


def seen(opened: Open) -> np.ndarray:
    """[H, W, 3] of the slider as it is on the screen, its line and knob included."""
    return picture_of(opened.page.locator(".wipe-stage").screenshot())


def picture_of(data: bytes, width: int = 0, height: int = 0) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
        frame = frame.reformat(width=width or frame.width, height=height or frame.height, format="rgb24")
        return frame.to_ndarray().astype(np.float32)


def shown(opened: Open, side: str, like: np.ndarray) -> np.ndarray:
    """The picture of one side, at the size it has on the screen."""
    uri = opened.page.locator(f".wipe-{side}").evaluate("e => e.src")
    return picture_of(base64.b64decode(uri.partition(",")[2]), like.shape[1], like.shape[0])


def test_it_is_one_small_file_that_asks_for_nothing(page_file: Path, desk: Open) -> None:
    assert page_file.stat().st_size < 10_000_000
    assert [url for url in desk.requests if url.startswith("file:")] == [page_file.as_uri()]
    assert GOOD in desk.page.inner_text("main")


def test_what_is_left_and_right_of_the_divider_is_source_and_master(desk: Open) -> None:
    desk.page.locator(".wipe-stage").scroll_into_view_if_needed()
    divider = desk.page.get_by_role("slider", name="Divider between")
    for percent, keys in ((0, ["Home"]), (100, ["End"]), (30, ["Home", *["ArrowRight"] * 30])):
        divider.focus()
        for key in keys:
            desk.page.keyboard.press(key)
        assert at(desk) == percent
        screen = seen(desk)
        edge = round(screen.shape[1] * percent / 100)
        wanted = shown(desk, "right", screen)
        wanted[:, :edge] = shown(desk, "left", screen)[:, :edge]
        away = np.abs(np.arange(screen.shape[1]) - edge) > 24  # from the line and its knob
        assert np.abs(screen - wanted)[8:-8, away].mean() < 3, f"at {percent}%"


def test_the_right_side_is_a_frame_of_the_published_master(reported: Reported, chromium: Any) -> None:
    with av.open(str(reported.output / GOOD)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(np.float32) for frame in container.decode(video=0)]
    with Open(chromium, reported.title("two &lt;shots&gt; &amp; more.mkv"), viewport=DESK) as opened:
        picture = shown(opened, "right", frames[0])
        number = int(opened.page.locator(".wipe").get_attribute("data-what").rpartition(" ")[2])
    assert int(np.argmin([np.abs(frame - picture).mean() for frame in frames])) == number
    assert np.abs(frames[number] - picture).mean() < 3


def test_the_pointer_moves_the_divider(desk: Open) -> None:
    stage = desk.page.locator(".wipe-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    y = box["y"] + box["height"] / 2
    desk.page.mouse.move(box["x"] + box["width"] / 2, y)
    desk.page.mouse.down()
    desk.page.mouse.move(box["x"] + box["width"] / 4, y, steps=4)
    desk.page.mouse.up()
    assert abs(at(desk) - 25) <= 1


def test_a_finger_drags_the_divider(page_file: Path, chromium: Any) -> None:
    with Open(chromium, page_file, viewport=PHONE, has_touch=True, is_mobile=True) as opened:
        stage = opened.page.locator(".wipe-stage")
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        y = box["y"] + box["height"] / 2
        fingers = opened.context.new_cdp_session(opened.page)
        scrolled = opened.page.evaluate("scrollY")
        for kind, part in (("Start", 0.5), ("Move", 0.4), ("Move", 0.25), ("End", None)):
            # Not quite level, as fingers are: a page that took it for itself would scroll.
            at_y = y + 20 * (0.5 - (part or 0.5))
            points = [] if part is None else [{"x": box["x"] + box["width"] * part, "y": at_y}]
            fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
        assert abs(at(opened) - 25) <= 1
        assert opened.page.evaluate("scrollY") == scrolled


def test_the_page_of_a_title_says_what_became_of_it(reported: Reported, chromium: Any) -> None:
    """Each of its sections, as it is seen: what is drawn has ink, what is counted is counted from the files."""
    master = reported.output / GOOD
    with Open(chromium, reported.title("two &lt;shots&gt; &amp; more.mkv"), viewport=DESK) as opened:
        page = opened.page
        assert page.get_by_role("heading", level=2).all_inner_texts() == [
            "Source and master", "Along the title", "Who worked on it, and when", "Media contract",
            "What it was, what it is", "Receipt", "Costs", "Settings",
        ]  # fmt: skip
        for drawn in ("shards: 2 made", "fidelity along the title", "difference along the title",
                      "flicker along the title", ":cpu: 2 made"):  # fmt: skip
            (chart,) = page.get_by_role("img", name=drawn).all()
            chart.scroll_into_view_if_needed()
            assert np.ptp(picture_of(chart.screenshot()).mean(axis=2)) > 30, drawn
        page.get_by_text("Every attempt of this process").click()
        attempts = table(page, "Every attempt of every shard")
        assert [(row[1], row[3]) for row in attempts] == [("[0,30)", "done"), ("[30,60)", "done")]
        contract = table(page, "Media contract")
        assert {row[1] for row in contract} == {"yes"}
        assert ["frames", "yes", "60 of 60"] in contract
        assert f"contracts kept\n{len(contract)}\nof {len(contract)}" in page.locator(".figures").inner_text()
        receipt = page.get_by_role("region", name="Receipt").inner_text()
        assert hashlib.sha256(master.read_bytes()).hexdigest() in receipt
        assert f"{master.stat().st_size:,} bytes" in receipt
        (figures,) = (row for row in table(page, "Source and master in figures") if row[0] == "size")
        assert figures == ["size", "320x180", "640x360"]
        chosen = page.locator("section", has=page.get_by_role("heading", name="Settings")).inner_text()
        assert "shards.frames\t30" in chosen
        assert "retry.attempts" not in chosen  # left as it is
        page.get_by_text("Settings left at their defaults").click()
        assert ["retry.attempts", "4"] in table(page, "Settings left at their defaults")


def table(page: Any, name: str) -> list[list[str]]:
    """What the cells of a table say that can be seen, by rows."""
    rows = page.get_by_role("region", name=name, exact=True).locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_a_shot_of_the_contact_sheet_opens_in_the_slider(reported: Reported, chromium: Any) -> None:
    with Open(chromium, reported.title("two &lt;shots&gt; &amp; more.mkv"), viewport=DESK) as opened:
        shots = opened.page.get_by_role("list", name="Pictures of").get_by_role("button")
        assert shots.count() == 2
        first = opened.page.locator(".wipe-right").get_attribute("src")
        shots.nth(0).focus()
        opened.page.keyboard.press("Enter")
        assert opened.page.locator(".wipe-right").get_attribute("src") != first
        assert shots.nth(0).get_attribute("aria-pressed") == "true"
        assert opened.page.locator(".sheet [aria-pressed=true]").count() == 1
        shots.nth(1).click()
        assert opened.page.locator(".wipe-right").get_attribute("src") == first


def test_the_pages_lead_to_each_other(reported: Reported, chromium: Any) -> None:
    with Open(chromium, reported.run / "report.html", viewport=DESK) as opened:
        opened.page.get_by_role("link", name=BAD).first.click()
        assert "truncated or damaged" in opened.page.inner_text("main")
        opened.page.get_by_role("link", name=f"run {reported.run.name}").click()
        assert opened.page.inner_text("h1") == f"Run {reported.run.name}"


def test_everything_that_is_seen_or_moved_has_a_name(desk: Open) -> None:
    for each in desk.page.locator("img, input, button, [role=img], [role=region]").all():
        name = each.get_attribute("aria-label") or each.get_attribute("alt") or each.inner_text().strip()
        assert name, each.evaluate("e => e.outerHTML.slice(0, 200)")


def test_a_phone_shows_it_all_and_a_finger_moves_it(page_file: Path, chromium: Any) -> None:
    with Open(chromium, page_file, viewport=PHONE, has_touch=True, is_mobile=True) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        stage = opened.page.locator(".wipe-stage")
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        opened.page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
        assert abs(at(opened) - 80) <= 1


def test_it_can_be_read_in_the_light_and_in_the_dark(page_file: Path, chromium: Any) -> None:
    light = {}
    for scheme in ("light", "dark"):
        with Open(chromium, page_file, viewport=DESK, color_scheme=scheme) as opened:
            contrast = opened.page.evaluate(CONTRAST)
            assert min(contrast.values()) >= 4.5, f"{scheme}: {contrast}"
            light[scheme] = picture_of(opened.page.screenshot()).mean()
    assert light["light"] > 1.5 * light["dark"]
