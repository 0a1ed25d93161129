"""Tags of the file in MP4 and QuickTime: in atoms where these hold them, so that cover art has its place."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tasks.media.contract.contract import compare
from tasks.media.reading.source import Source
from tasks.media.writing.tags import COVERLESS, best_kept
from tests import mastered
from tests.clips import Clip, make
from tests.remux import Change, remux
from tests.torture import with_cover

IN_ATOMS = {
    "title": "A film", "track": "3/9", "disc": "1/2", "media_type": "9", "hd_video": "2", "gapless_playback": "1",
    "compilation": "1", "season_number": "2", "episode_sort": "5", "show": "A series",
    "location": "+48.1000+011.6000/",
}  # fmt: skip


@pytest.mark.parametrize(
    ("muxer", "tags", "in_table", "altered"),
    [
        *(("mp4", {name: said}, False, ()) for name, said in IN_ATOMS.items()),
        ("mp4", {"TRACK": "3/9"}, False, ()),
        ("mp4", {"track": "03/09"}, True, ()),
        ("mp4", {"season_number": "300"}, True, ()),
        ("mp4", {"sort_name": "film, a"}, True, ()),
        ("mp4", {"creation_time": "2020-02-02T02:02:02Z", "timecode": "01:00:00:00"}, False, ()),
        ("mp4", {"location": "+37.3318-122.0312+012.500/"}, False, ("location",)),
        ("mov", {"make": "One", "model": "Two", "location": "+37.3318-122.0312+012.500/"}, False, ()),
        ("mov", {"lyrics": "la la"}, True, ()),
        ("matroska", {"anything": "said"}, False, ()),
    ],
)
def test_tags_go_where_most_of_them_are_read_as_they_were(
    muxer: str, tags: dict[str, str], in_table: bool, altered: tuple[str, ...]
) -> None:
    assert best_kept(muxer, tags) == (in_table, altered)


def tagged(path: Path, tags: dict[str, str]) -> Path:
    """A film with tags in atoms; in MP4 with cover art beside them."""
    plain = path.parents[1] / f"before{path.suffix}"
    plain = with_cover(plain) if path.suffix == ".mp4" else make(plain, Clip(frames=12))
    return remux(plain, path, Change(after=lambda output: output.metadata.update(tags)))


@pytest.mark.parametrize(
    ("kind", "tags"),
    [("mp4", IN_ATOMS), ("mov", {"title": "A film", "make": "One", "location": "+37.3318-122.0312+012.500/"})],
)
def test_a_master_keeps_tags_to_the_letter_and_its_cover_art(kind: str, tags: dict[str, str], tmp_path: Path) -> None:
    film = tagged(tmp_path / "films" / f"film.{kind}", tags)
    with av.open(str(film)) as held:
        assert tags.items() <= held.metadata.items()
    done = mastered.remaster(film.parent, str(tmp_path / "out"), str(tmp_path / "store"))
    assert (done.plan.title.master, done.plan.title.remarks) == (film.name, ())
    rows = {row.name: row.verdict for row in compare(Source(str(film), "film"), Source(done.master.uri, "master"))}
    assert rows["file: tags"] == "kept"
    assert "lost" not in rows.values()


@pytest.mark.parametrize(("wanted", "name"), [("auto", "film.mkv"), ("mp4", "film.mp4")])
def test_cover_art_beside_a_tag_that_has_no_atom_is_for_matroska(wanted: str, name: str, tmp_path: Path) -> None:
    film = tagged(tmp_path / "films" / "film.mp4", {"grouping": "film, a"})
    film.write_bytes(film.read_bytes().replace(b"\xa9grp", b"sonm"))
    with av.open(str(film)) as held:
        assert held.metadata["sort_name"] == "film, a"
    done = mastered.remaster(
        film.parent, str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": wanted}
    )
    assert done.plan.title.master == name
    rows = {row.name: row.verdict for row in compare(Source(str(film), "film"), Source(done.master.uri, "master"))}
    assert rows["file: tags"] == "kept"
    assert (
        ("lost" in rows.values()) == any(COVERLESS in remark for remark in done.plan.title.remarks) == (wanted == "mp4")
    )
