"""A track's language is in the master, by whichever of its codes the container knows; or it is said that it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.reading.languages import codes_of
from tasks.media.reading.source import Source
from tasks.media.writing.languages import code_in
from tests.clips import Clip, make
from tests.mastered import remaster
from tests.remux import Change, remux


@pytest.mark.parametrize(("language", "codes"), [("deu", ("deu", "ger")), ("ger", ("ger", "deu")), ("eng", ("eng",))])
def test_some_have_two_codes(language: str, codes: tuple[str, ...]) -> None:
    assert codes_of(language) == codes


@pytest.mark.parametrize(
    ("language", "code"),
    [("eng", "eng"), ("fre", "fra"), ("fra", "fra"), ("deu", "ger"), ("zho", "chi"), ("ces", "ces"), ("hrv", "")],
)
def test_quicktime_says_one_of_them(language: str, code: str) -> None:
    assert code_in("mov", language) == code
    assert code_in("mp4", language) == code_in("matroska", language) == language


@pytest.mark.parametrize(("language", "kept"), [("deu", "ger"), ("hrv", "")])
def test_a_quicktime_master_has_it_if_it_can(language: str, kept: str, tmp_path: Path) -> None:
    """What it cannot say is said before any work, and is then no fault of the master."""

    def speak(output: Any) -> None:
        for stream in output.streams:
            stream.metadata["language"] = language

    films = tmp_path / "films"
    remux(make(tmp_path / "film.mp4", Clip(frames=4)), films / "film.mp4", Change(after=speak))
    settings = {"master.codec": "prores", "master.container": "mov", "master.preset": ""}
    made = remaster(films, str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    source, master = films / "film.mp4", Path(made.master.uri)
    assert master.suffix == ".mov"
    assert made.receipt.check == []
    rows = {row.name: row for row in compare(Source(str(source), "film"), Source(str(master), "master"))}
    said = [remark for remark in made.plan.title.remarks if "QuickTime has no number for it" in remark]
    for name in ("picture: language", "stream 1 (audio aac): language"):
        assert (rows[name].master, rows[name].verdict) == ((kept, "kept") if kept else ("-", "lost"))
    assert len(said) == (0 if kept else 2)


def test_a_language_that_the_source_does_not_speak_is_a_fault(tmp_path: Path) -> None:
    """Though QuickTime has no number for none either."""

    def say(language: str) -> Change:
        return Change(after=lambda output: output.streams[1].metadata.update(language=language))

    films = tmp_path / "films"
    remux(make(tmp_path / "film.mp4", Clip(frames=4)), films / "film.mp4", say("und"))
    settings = {"master.codec": "prores", "master.container": "mov", "master.preset": ""}
    made = remaster(films, str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    master = Path(made.master.uri)
    remux(master, tmp_path / "other.mov", say("eng")).replace(master)
    lines = {name: ok for name, ok, _ in check_master(made.plan, made.profile, made.master, made.records, None).lines}
    assert lines["stream 1 (audio aac): language"] is False
