"""How wide pixels are is read from wherever it is said, written where it can be read, and missed where it is not."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tasks.media.contract.contract import compare
from tasks.media.contract.inventory import take_inventory
from tasks.media.reading.probe import probe
from tasks.media.reading.source import Source
from tasks.media.reading.whole import element, what_is_missing
from tasks.media.writing.display_size import say_display_size
from tests.clips import Clip, make
from tests.remux import Change, remux
from tests.torture import TORTURE

CLIP = Clip(frames=3, audio="flac", b_frames=0, sample_aspect=Fraction(16, 15))
VP9 = replace(CLIP, codec="libvpx-vp9", colour=None)
ASPECTS = {
    "pictures/anamorphic.mp4": Fraction(16, 15),
    "pictures/anamorphic.mkv": Fraction(399, 400),
    "pictures/anamorphic.mov": Fraction(40, 33),
    "pictures/anamorphic vp8.webm": Fraction(91, 64),  # as many whole pixels as 64 of 64/45 are
    "pictures/anamorphic vp9.webm": Fraction(3, 2),
    "pictures/anamorphic av1.mp4": Fraction(16, 15),
    "pictures/anamorphic prores.mov": Fraction(16, 15),
    "pictures/mirrored.mp4": Fraction(1),
}


def source_of(path: Path) -> Source:
    return Source(str(path), path.name)


def sums(head: bytes) -> list[tuple[int, int]]:
    """The checksum that an element of a Matroska segment begins with, and that of what follows in it, for each."""
    file, found = io.BytesIO(head), []
    _, _, place = element(file, head.index(bytes.fromhex("18538067")))
    while place < len(head):
        _, length, body = element(file, place)
        assert length is not None
        place = body + length
        if head[body : body + 2] == bytes.fromhex("bf84"):
            found.append((int.from_bytes(head[body + 2 : body + 6], "little"), zlib.crc32(head[body + 6 : place])))
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("name", ASPECTS)
def test_it_is_read_wherever_it_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir()
    source = source_of(TORTURE[name](tmp_path / name))
    found = probe(source)
    assert found.sample_aspect == ASPECTS[name]
    assert take_inventory(source, found.stream).sample_aspect == ASPECTS[name]


def test_what_only_the_container_says_is_missed_where_it_is_not_said(tmp_path: Path) -> None:
    """FFmpeg's muxer writes none of it into Matroska for a stream of PyAV's."""
    source = make(tmp_path / "film.mp4", VP9)
    copy = remux(source, tmp_path / "film.mkv", Change())
    (row,) = (row for row in compare(source_of(source), source_of(copy)) if row.name == "pixel aspect")
    assert (row.verdict, row.source, row.master) == ("lost", "16/15", "1")


def test_the_bitstream_is_taken_where_matroska_says_the_same_in_whole_pixels(tmp_path: Path) -> None:
    for said, meant in ((Fraction(91, 64), Fraction(64, 45)), (Fraction(90, 64), Fraction(90, 64))):
        film = make(tmp_path / f"{said.numerator}.mkv", replace(CLIP, sample_aspect=Fraction(64, 45)))
        say_display_size(str(film), 0, said)
        assert probe(source_of(film)).sample_aspect == meant


@pytest.mark.parametrize("aspect", [Fraction(16, 15), Fraction(399, 400), Fraction(64, 45), Fraction(8, 9)])
def test_matroska_says_it_exactly_and_nothing_else_is_touched(aspect: Fraction, tmp_path: Path) -> None:
    film = make(tmp_path / "film.mkv", replace(VP9, chapters=True, attachment=True, subtitle=True))
    before = film.read_bytes()
    say_display_size(str(film), 0, aspect)
    after = film.read_bytes()
    clusters = before.index(bytes.fromhex("1f43b675"))
    assert len(after) == len(before)
    assert after[clusters:] == before[clusters:]
    assert what_is_missing(str(film)) == ""
    assert all(stored == found for stored, found in sums(after[:clusters]))
    with av.open(str(film)) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect
        assert [stream.type for stream in container.streams] == ["video", "audio", "subtitle", "attachment"]
        assert len(container.chapters()) == 2
        assert container.metadata["title"] == "film"
        assert len(list(container.decode(video=0))) == 3
        container.seek(0)
        assert len(list(container.decode(audio=0))) > 0


@pytest.mark.parametrize(("aspect", "verdict"), [(Fraction(4304, 4311), "changed"), (Fraction(239, 240), "lost")])
def test_what_a_codec_has_no_numbers_for_is_said_as_nearly_as_it_can(
    aspect: Fraction, verdict: str, tmp_path: Path
) -> None:
    clip = replace(CLIP, width=640, height=360, sample_aspect=Fraction(4304, 4311))
    source = make(tmp_path / "film.mp4", clip)
    master = make(tmp_path / "film.mkv", replace(clip, sample_aspect=aspect))  # libx264 makes it 3689/3695
    (row,) = (row for row in compare(source_of(source), source_of(master)) if row.name == "pixel aspect")
    assert row.verdict == verdict
