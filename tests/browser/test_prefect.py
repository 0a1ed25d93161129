"""Prefect's own pages on a real server show a library's runs as a person needs them; and the pictures of that in docs.

`REMASTER_PICTURES=docs make test-browser` takes those pictures anew, for a person to look at before they are kept.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from flows.assets import asset_key
from flows.request import Answer, Request
from tasks.profile import CheckSettings, MasterSettings
from tests.browser.prefect_site import BLACK, FAILS, GOOD, HELD, LIBRARY, Site, prefect_site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

WIDTH, PATIENCE_MS = 1180, 60_000


class Ui:
    """Prefect's pages, in a browser."""

    def __init__(self, page: Any, url: str, pictures: Path) -> None:
        self._page, self._url, self._pictures = page, url, pictures

    def open(self, place: str, *tabs: str) -> None:
        """Go to a page, and to one of its tabs."""
        self._page.goto(f"{self._url}/{place}")
        for tab in tabs:
            self._page.get_by_text(tab, exact=True).locator("visible=true").last.click()

    def search(self, words: str) -> None:
        """Type into the field that narrows a list down."""
        self._page.get_by_placeholder("Search by run name").locator("visible=true").fill(words)

    def press(self, button: str) -> None:
        self._page.get_by_role("button", name=button).locator("visible=true").first.click()

    def choose(self, field: str, value: str) -> None:
        """Choose a value of a field with a list of them, by keyboard: by mouse it opens and closes again."""
        form = self._page.get_by_role("dialog")
        form.locator(".p-label", has_text=field).locator("button.p-select-button__control").focus()
        self._page.keyboard.press("ArrowDown")
        self._page.get_by_role("option", name=value).wait_for()
        values = self._page.get_by_role("option").all_text_contents()
        for _ in range([text.strip() for text in values].index(value)):
            self._page.keyboard.press("ArrowDown")
        self._page.keyboard.press("Enter")

    def write(self, field: str, text: str) -> None:
        """Write into the field that is described so."""
        form = self._page.get_by_role("dialog")
        form.locator(".p-label", has_text=field).locator("textarea").fill(text)

    def add(self, field: str, number: int) -> None:
        """Add a number to the list that is described so."""
        listed = self._page.get_by_role("dialog").locator(".p-label", has_text=field)
        listed.get_by_role("button", name="Add item").click()
        listed.locator("input").last.fill(str(number))

    def shows(self, *texts: str) -> None:
        """Wait until the page shows all of these."""
        for text in texts:
            self._page.get_by_text(text).locator("visible=true").first.wait_for()

    def follow(self, link: str) -> int:
        """Go where a link out of Prefect leads; the answer's status. A film is asked for and not watched."""
        url = str(self._page.locator("a[href^='http:']", has_text=link).first.get_attribute("href"))
        status = int(self._page.request.head(url).status)
        if url.endswith(".html"):
            self._page.goto(url)
        return status

    def go(self, link: str) -> None:
        """Go where the first link of that name leads, which another tab might show."""
        place = self._page.get_by_role("link", name=link).locator("visible=true").first.get_attribute("href")
        self._page.goto(urljoin(self._url, place))

    def rows(self) -> list[list[str]]:
        """What the cells of the page's table say."""
        found = self._page.locator("table tbody tr").all()
        return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in found]

    def comes_to_show(self, **counts: int) -> None:
        """Wait until the page shows each of these texts exactly so often: a list narrows down in its own time."""
        from playwright.sync_api import expect

        for text, count in counts.items():
            found = self._page.get_by_text(text, exact=True).locator("visible=true")
            expect(found).to_have_count(count, timeout=PATIENCE_MS)

    def shoot(self, name: str, height: int) -> None:
        """Take a picture of the page, so high."""
        self._page.set_viewport_size({"width": WIDTH, "height": height})
        self._page.wait_for_timeout(1500)  # what slides or fades in
        kind: dict[str, Any] = {"type": "png"} if name.endswith("png") else {"type": "jpeg", "quality": 72}
        self._page.screenshot(path=self._pictures / name, **kind)
        assert (self._pictures / name).stat().st_size > 10_000


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    # Its name is on the pictures: a short one.
    with tempfile.TemporaryDirectory(prefix="site-") as folder, prefect_site(Path(folder)) as found:
        yield found


@pytest.fixture
def ui(chromium: Any, site: Site, tmp_path: Path) -> Iterator[Ui]:
    page = chromium.new_page(viewport={"width": WIDTH, "height": 900}, timezone_id="Europe/Berlin")
    page.set_default_timeout(PATIENCE_MS)
    yield Ui(page, site.url, Path(os.environ.get("REMASTER_PICTURES") or tmp_path))
    page.close()


def test_the_form_asks_in_our_words(ui: Ui, site: Site) -> None:
    title = site.server.deployment(f"remaster library/{LIBRARY}-title")
    ui.open(f"deployments/deployment/{title['id']}/run")
    for model in (Request, MasterSettings, CheckSettings):
        ui.shows(*(str(field.description) for field in model.model_fields.values()))
    ui.shoot("prefect-form.jpg", 900)


def test_the_next_nights_are_upcoming(ui: Ui, site: Site) -> None:
    nightly = site.server.deployment(f"remaster library/{LIBRARY}-nightly")
    ui.open(f"deployments/deployment/{nightly['id']}?tab=Upcoming", "Upcoming")
    ui.shows("Scheduled", "02:00:00 AM")
    ui.shoot("prefect-nightly.png", 620)


def test_a_run_shows_its_titles_and_how_far_it_came(ui: Ui, site: Site) -> None:
    ui.open(f"runs/flow-run/{site.night['id']}", "Subflow Runs")
    ui.shows(GOOD, HELD, "Held", "Completed")
    ui.open(f"runs/flow-run/{site.night['id']}", "Artifacts")
    ui.shows("2/2 titles")
    ui.shoot("prefect-run.jpg", 1080)


def test_shards_are_called_by_their_frames_and_those_that_were_there_are_cached(ui: Ui, site: Site) -> None:
    ui.open(f"runs/flow-run/{site.again['id']}", "Task Runs")
    ui.search("shard")
    ui.shows(f"shard {GOOD} [0,11)", f"shard {GOOD} [22,33)", "Cached")
    ui.comes_to_show(Cached=7, Completed=2 + 1)  # the title itself is, too
    ui.shoot("prefect-title.jpg", 1150)


def test_a_shard_that_was_tried_again_says_why_and_what_its_worker_did(ui: Ui, site: Site) -> None:
    tasks = site.server.find("task_runs", flow_runs={"id": {"any_": [site.good["id"]]}}, limit=200)
    (retried,) = [task for task in tasks if task["run_count"] > 1]
    assert retried["name"] == f"shard {GOOD} [{FAILS},{FAILS + 11})"
    ui.open(f"runs/task-run/{retried['id']}")
    ui.shows("told to fail once", "Retry 1/", "11 pictures, 0 before and 0 after them", "11 frames in")
    ui.shoot("prefect-shard.jpg", 900)


def test_the_report_and_the_masters_are_a_click_away_where_they_are_served(ui: Ui, site: Site) -> None:
    for key, leads_to in (("links", GOOD.rsplit("/", 1)[-1]), ("report", "Report")):
        (found,) = [
            artifact
            for artifact in site.server.find("artifacts", artifacts={"type": {"any_": ["markdown"]}})
            if artifact["flow_run_id"] in (site.night["id"], site.good["id"]) and key in artifact["key"]
        ]
        ui.open(f"artifacts/artifact/{found['id']}")
        assert ui.follow(leads_to) == 200
    ui.shows("flower.mp4", "fidelity")


def test_a_title_has_a_picture_of_itself(ui: Ui, site: Site) -> None:
    (image,) = site.server.find(
        "artifacts", artifacts={"type": {"any_": ["image"]}, "flow_run_id": {"any_": [site.good["id"]]}}
    )
    ui.open(f"artifacts/artifact/{image['id']}")
    ui.shows("enlarged by")
    ui.shoot("prefect-picture.jpg", 540)


def test_a_person_is_asked_by_a_form(ui: Ui, site: Site) -> None:
    ui.open(f"runs/flow-run/{site.review['id']}")
    ui.shows("Suspended")
    ui.press("Resume")
    ui.shows(f"May the master of {HELD} be published?", *(str(f.description) for f in Answer.model_fields.values()))
    ui.shoot("prefect-review.jpg", 1080)
    ui.go("Its pictures")
    ui.shows("waits for a person; its master is at", "remaster approve", "remaster reject")


def test_the_table_of_a_run_has_a_row_for_each_title(ui: Ui, site: Site) -> None:
    (table,) = [
        artifact
        for artifact in site.server.find("artifacts", artifacts={"type": {"any_": ["table"]}})
        if artifact["flow_run_id"] == site.night["id"]
    ]
    ui.open(f"artifacts/artifact/{table['id']}")
    ui.shows("shards made", "reason", "2 Items")
    rows = {cells[0]: cells for cells in ui.rows()}
    assert list(rows) == [HELD, GOOD]  # what is not done comes first
    assert rows[GOOD][1:5] == ["done", "99", "9", "0"]
    assert rows[HELD][1:5] == ["held", "40", "4", "0"]
    assert "waits for a person, as its picture has faults: black in shard 2" in rows[HELD][6]
    ui.shoot("prefect-table.jpg", 560)


def test_automations_and_events_are_on_pages_of_their_own(ui: Ui, site: Site) -> None:
    ui.open("automations")
    ui.shows("remaster: flow runs whose process died", "remaster: runs that crashed once")
    ui.shoot("prefect-automations.jpg", 760)
    ui.open("events?events=remaster.*")
    ui.shows("remaster.title.finished", "remaster.run.finished")


def test_a_master_is_an_asset_whose_event_leads_to_its_source(ui: Ui, site: Site) -> None:
    ui.open("events?events=prefect.asset.*")
    ui.shows("Asset materialization succeeded")
    ui.shoot("prefect-events.jpg", 760)
    ui.go("Asset materialization succeeded")
    ui.shows("prefect.asset.materialization.succeeded", "Related Resources")
    ui.shows(*(asset_key(str(site.masters.parent / place / GOOD)) for place in (LIBRARY, site.masters.name)))


def test_pictures_tables_and_how_far_it_came_are_artifacts(ui: Ui, site: Site) -> None:
    ui.open("artifacts")
    ui.shows("Image", "Table", "Progress", f"{GOOD}: source", "report and masters")


def test_a_person_rejects_a_shot_in_the_form_and_approves_what_is_made_anew(ui: Ui, site: Site) -> None:
    """The second shot, with another seed, which changes nothing of what is wrong with it."""
    ui.open(f"runs/flow-run/{site.review['id']}")
    ui.press("Resume")
    ui.shows(f"May the master of {HELD} be published?", "black, and the source's are not")
    ui.choose("Decision", "reject")
    ui.write("Who decides, for the receipt.", "A. Archivist")
    ui.write("Why, for the receipt: what is accepted, or what is wrong.", "a black frame")
    ui.add("Reject the shards of these shots", 1)
    ui.write("Settings that are to be otherwise for what is rejected", '{"seed": 5}')
    ui.press("Submit")
    rejected = site.server.ended(site.review["id"])
    assert rejected["state"]["name"] == "Completed"
    assert f"[{BLACK},30), [30,40) will be made anew with seed=5" in rejected["state"]["message"]
    assert not (site.masters / HELD).exists()

    review = site.asks_again()
    ui.open(f"runs/flow-run/{review['id']}")
    ui.press("Resume")
    ui.shows(f"May the master of {HELD} be published?", "black, and the source's are not")
    ui.choose("Decision", "approve")
    ui.write("Who decides, for the receipt.", "A. Archivist")
    ui.write("Why, for the receipt: what is accepted, or what is wrong.", "the spot was there before")
    ui.press("Submit")
    assert site.server.ended(review["id"])["state"]["name"] == "Completed"
    reviews = json.loads((site.masters / f"{HELD}.receipt.json").read_text())["reviews"]
    assert [(each["verdict"], each["by"], each["note"]) for each in reviews] == [
        ("rejected", "A. Archivist", "a black frame"),
        ("approved", "A. Archivist", "the spot was there before"),
    ]
    assert (site.masters / HELD).is_file()
