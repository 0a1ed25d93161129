"""What is served has a link that a browser follows; what is not is shown as the place it is, and no link."""

from __future__ import annotations

import pytest

from flows.links import VARIABLE, code, link, served_places, url_of
from tasks.errors import UsageError

SERVED = "file:///srv/masters=https://films.example.org/m/ s3://work=http://10.0.0.1:8080 /srv/masters/.remaster=https://r.example"


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SERVED)


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("/srv/masters/film.mkv", "https://films.example.org/m/film.mkv"),
        ("/srv/masters/a [b] | 50%.mkv", "https://films.example.org/m/a%20%5Bb%5D%20%7C%2050%25.mkv"),
        ("/srv/masters/.remaster/runs/r/report.html", "https://r.example/runs/r/report.html"),
        ("s3://work/runs/r/report.html", "http://10.0.0.1:8080/runs/r/report.html"),
        ("s3://work", "http://10.0.0.1:8080"),
        ("s3://works/x", ""),
        ("/srv/masters-2/film.mkv", ""),
        ("/srv/masters/scan/f.%04d.dpx", "https://films.example.org/m/scan"),
    ],
)
def test_a_place_below_one_that_is_served_has_its_url(uri: str, url: str) -> None:
    assert url_of(uri) == url


def test_a_link_survives_what_is_in_names() -> None:
    assert link("a [b] | c", "/srv/masters/x.mkv") == "[a \\[b\\] \\| c](<https://films.example.org/m/x.mkv>)"


def test_what_is_not_served_is_named_and_not_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert link("Report", "/elsewhere/a | b.html") == "Report: `/elsewhere/a \\| b.html`"
    assert code("a`b") == "`` a`b ``"
    monkeypatch.delenv(VARIABLE)
    assert link("Report", "s3://work/r.html") == "Report: `s3://work/r.html`"


@pytest.mark.parametrize(
    "wrong", ["https://films.example.org", "/srv=films.example.org", "/srv=", "ftp://x=https://y.z"]
)
def test_what_says_no_place_and_url_is_refused_before_a_run_and_ends_none(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(UsageError):
        served_places()
    assert url_of("/srv/x") == ""
