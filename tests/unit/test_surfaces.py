"""What Prefect shows of a run is put up in passing: a server that is busy, gone or cross holds up and fails nothing."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows import surfaces
from flows.assets import asset, asset_key
from flows.progress import Progress
from flows.run import Outcome, Run, Verdict
from flows.surfaces import Board, board, cell
from tasks.profile import Profile
from tasks.records import CheckResult, Title

ODD = (
    "/films/My film & co.mkv", "/films/100% [x]#2?.mkv", "/films/~a.mkv", "/films/~7Ea.mkv",
    "/films/Åse 'n' \"B\".mkv",
)  # fmt: skip


@pytest.fixture(params=["gone", "silent"])
def bad_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a server that is not there, or that takes a request and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listening.listen(8)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"


def test_a_server_that_does_not_answer_holds_nothing_up(
    bad_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(surfaces, "_EVERY", 0.1)
    monkeypatch.setattr(surfaces, "_LAST_SECONDS", 1.0)
    monkeypatch.setattr(surfaces, "_ANSWER_SECONDS", 0.3)
    progress = Progress()
    caplog.set_level(logging.WARNING, "remaster.surfaces")
    with temporary_settings({PREFECT_API_URL: bad_server, PREFECT_CLIENT_MAX_RETRIES: 0}):
        began = time.monotonic()
        with Board() as shown:
            shown.follow("run-1-progress", progress.total)
            for number in range(1000):
                shown.put("markdown", f"note-{number}", "text", "a note")
            busy = time.monotonic() - began
            time.sleep(0.5)
        ended = time.monotonic() - began
    assert busy < 1.0
    assert ended < 5.0
    said = [record.message for record in caplog.records if "does not show all" in record.message]
    assert len(said) == 1


def test_what_prefect_would_not_take_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    Board().put("markdown", "No Such Key!", "text", "a note")
    assert "does not show all" in caplog.text


def test_the_board_of_the_flow_around_is_everybodys() -> None:
    with board() as around, board() as inside:
        assert inside is around
    with board() as later:
        assert later is not around


def test_the_whole_is_the_titles_by_their_weights() -> None:
    progress = Progress()
    progress.expect({"long": 3.0, "short": 1.0})
    assert progress.total().percent == 0
    progress.start("long", 100)
    progress.advance("long", 0, 50)
    assert progress.title("long").percent == 50
    assert progress.total().percent == pytest.approx(37.5)
    progress.end(Outcome(title="short", state="failed", reason="short: torn"))
    assert progress.title("short").ended
    assert progress.title("short").words == "short: failed, torn"
    assert progress.total().percent == pytest.approx(62.5)
    assert "1/2 titles" in progress.total().words and "1 not done" in progress.total().words


@pytest.mark.parametrize(("others", "percent"), [({}, 50.0), ({"long": 3.0, "short": 1.0}, 100 / 6)])
def test_a_title_whose_length_nobody_knows_counts_as_the_shortest(others: dict[str, float], percent: float) -> None:
    progress = Progress()
    progress.expect({"a.h264": 0.0, "b.h264": 0.0, **others})
    progress.end(Outcome(title="a.h264", state="done"))
    assert progress.total().percent == pytest.approx(percent)


def test_every_file_has_an_asset_key_of_its_own() -> None:
    keys = [asset(uri, "a film").key for uri in (*ODD, *(f"s3://bucket{uri}" for uri in ODD))]
    assert len(set(keys)) == len(keys)
    for uri, key in zip(ODD, keys, strict=False):
        scheme, _, path = key.partition("://")
        assert (scheme, unquote(path.replace("~", "%"))) == ("file", uri)
    assert asset_key("s3://bucket/films/a.mkv") == "s3://bucket/films/a.mkv"


def test_a_key_that_is_too_long_stays_its_own() -> None:
    one, other = (asset("/" + "ä" * 300 + end, "a film").key for end in ("1.mkv", "2.mkv"))
    assert len(one) == len(other) == 512
    assert one != other


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """Data and description of what is put up, by key."""
    found: dict[str, tuple[str, str]] = {}
    monkeypatch.setattr(surfaces, "put", lambda kind, key, data, words: found.update({key: (data, words)}))
    return found


def test_what_a_check_found_is_no_larger_than_prefect_can_show(shown: dict[str, tuple[str, str]]) -> None:
    title = Title(name="a.mkv", uri="/films/a.mkv", size=1, stamp="")
    broken = tuple((f"broken {n}", False, "of a colour that is not its own " * 100) for n in range(21_000))
    surfaces.show_check(title, CheckResult(passed=False, lines=(("kept", True, "as it should be"), *broken)))
    data, _ = shown[f"check-{title.id}"]
    assert len(data) < 2_000_000
    assert "broken 0" in data and "| kept |" not in data.partition("\n")[2] and "19,001 more" in data


def test_what_is_shown_of_a_run_is_bounded_and_has_what_is_not_done(shown: dict[str, tuple[str, str]]) -> None:
    reason = "a reason of some words " * 200
    outcomes = [Outcome(title=f"{n}.mkv", state="done", master=f"s3://out/{n}.mkv") for n in range(20_000)]
    outcomes.append(Outcome(title="torn.mkv", state="failed", reason=reason))
    run = Run(library="/films", output="/out", store="/store", profile=Profile(), id="r")
    verdict = Verdict(state="exceptions", message=reason * 10, finished="")
    surfaces.show_results(run, outcomes, verdict, "/store/report.html")
    table, words = shown["run-r"]
    links, _ = shown["run-r-links"]
    assert json.loads(table)[0]["title"] == "torn.mkv"
    assert len(table) < 500_000 and len(links) < 500_000 and len(words) < 5_000
    assert "20,001" in words and "18,001 more" in links


def test_cells_survive_what_is_in_names() -> None:
    assert cell("two\nlines | and a bar") == "two lines \\| and a bar"
