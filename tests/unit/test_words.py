"""Subtitles of plain words go into the kind that a container holds: every word, its time and its line breaks."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.reading.source import Source
from tasks.media.writing.words import rewritten, words_of
from tests import mastered
from tests.remux import Change, remux
from tests.torture import Maker, subtitled


@pytest.mark.parametrize(
    ("name", "write", "container", "kind"),
    [
        ("film.mkv", subtitled("subrip", "text"), "mp4", "mov_text"),
        ("film.mkv", subtitled("subrip"), "mov", "mov_text"),
        ("film.mp4", subtitled("mov_text", "mov_text"), "mkv", "subrip"),
    ],
)
def test_words_reach_the_master_in_the_kind_it_holds(
    name: str, write: Maker, container: str, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "films").mkdir()
    path = write(tmp_path / "films" / name)
    done = mastered.remaster(
        tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": container}
    )
    made = [each for each in done.master.copied if each.type == "subtitle"]
    assert made and all((each.made, each.reason) == (kind, "") for each in made)
    said = [remark for remark in done.plan.title.remarks if f"becomes {kind}, word for word" in remark]
    assert len(said) == len(made)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    # QuickTime has no word for subtitles that are forced, which the check says.
    unsaid = {"stream 2 (subtitle srt): disposition"} if container == "mov" else set()
    assert {line for line, ok, _ in check.lines if not ok} == unsaid
    rows = compare(Source(str(path), name), Source(done.master.uri, "master"))
    assert {row.name for row in rows if row.verdict == "lost"} == unsaid
    assert [row.verdict for row in rows if row.name.endswith(": words")] == ["changed"] * len(made)


def test_ass_is_more_than_words_and_is_not_turned_into_them(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    subtitled("ass")(tmp_path / "films" / "film.mkv")
    done = mastered.remaster(
        tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": "mp4"}
    )
    assert any("(subtitle) is not carried" in remark for remark in done.plan.title.remarks)
    assert not check_master(done.plan, done.profile, done.master, done.records, None).passed


def test_other_words_are_seen(tmp_path: Path) -> None:
    first = subtitled("subrip")(tmp_path / "film.mkv")
    other = subtitled("mov_text")(tmp_path / "film.mp4")
    made = remux(other, tmp_path / "made.mp4", Change())
    with av.open(str(made)) as container:
        assert container.streams.subtitles
    rows = {row.name: row for row in compare(Source(str(first), "first"), Source(str(made), "other"))}
    (words,) = [row for name, row in rows.items() if name.endswith(": words")]
    assert (words.verdict, words.note) == ("lost", "not the same words")


def test_words_are_kept_and_looks_are_not() -> None:
    styled = '<i>Grüße,</i>\r\n<font color="red">1 < 2</font>'.encode()
    assert words_of(styled, "srt") == "Grüße,\n1 < 2"
    boxed = rewritten(styled, "srt", "mov_text")
    assert boxed[:2] == len("Grüße,\n1 < 2".encode()).to_bytes(2, "big")
    assert words_of(boxed + b"\0\0\0\x10stylxxxxxxxx", "mov_text") == "Grüße,\n1 < 2"
    assert rewritten(boxed, "mov_text", "subrip") == "Grüße,\n1 < 2".encode()
