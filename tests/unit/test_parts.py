"""Where a picture changes size its source is cut, and every packet is in one of the parts."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from flows import budget
from tasks.errors import SizeChanges, UnsupportedSource
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import read_timeline
from tasks.media.writing.part import Copies, _Cut, write_parts
from tasks.parts import part_titles, whole_of
from tasks.profile import read_profile
from tasks.records import Title
from tasks.scan import scan
from tasks.store import Store
from tests import broken
from tests.remux import Change, remux

BASE = Fraction(1, 1000)


def changes_of(path: Path) -> SizeChanges:
    with pytest.raises(SizeChanges) as raised:
        read_timeline(Source(str(path), path.name), 0)
    return raised.value


def packets_of(path: Path) -> dict[str, list[bytes]]:
    """Of each kind of stream, in order."""
    found = defaultdict(list)
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                found[packet.stream.type].append(bytes(packet))
    return found


def times_of(path: Path, kind: str) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [
            p.pts * p.time_base for p in container.demux() if p.size and p.stream.type == kind and p.pts is not None
        ]


def cut(film: Path, folder: Path) -> list[Path]:
    at = changes_of(film).at
    places = [folder / f"part{number}{film.suffix}" for number in range(len(at) + 1)]
    copies = write_parts(Source(str(film), film.name), 0, at, [str(place) for place in places])
    assert copies == Copies(picture=0, lost=())
    return places


@pytest.mark.parametrize("times", [1, 3])
def test_every_packet_is_in_one_part_and_in_its_place(times: int, tmp_path: Path) -> None:
    film = broken.size_changes(tmp_path / "film.ts", times=times)
    parts = cut(film, tmp_path)
    assert len(parts) == times + 1
    whole = packets_of(film)
    for kind in ("video", "audio"):
        assert [packet for part in parts for packet in packets_of(part)[kind]] == whole[kind], kind
    # A decoder that is not told of the end keeps the last picture before a change to itself; the parts have it.
    tables = [read_timeline(Source(str(part), part.name), 0) for part in parts]
    assert [len(table) for table in tables] == [12] * len(parts)
    shown, heard = times_of(film, "video"), times_of(film, "audio")
    assert min(times_of(parts[0], "video")) == min(shown)
    last = parts[-1]
    began = sorted(shown)[-12]
    assert times_of(last, "audio")[-1] - min(times_of(last, "video")) == heard[-1] - began, "sound is where it was"


def test_a_program_stream_can_be_cut_too(tmp_path: Path) -> None:
    film = remux(broken.size_changes(tmp_path / "film.ts"), tmp_path / "film.vob", Change())
    parts = cut(film, tmp_path)
    assert [len(read_timeline(Source(str(part), part.name), 0)) for part in parts] == [12, 12]


def test_what_keeps_one_size_for_all_of_a_file_is_refused(tmp_path: Path) -> None:
    """A copy of a part of it would still say the first size."""
    film = remux(broken.size_changes(tmp_path / "film.ts"), tmp_path / "film.mkv", Change())
    with pytest.raises(UnsupportedSource, match=r"changes from .*; split the file there") as raised:
        read_timeline(Source(str(film), film.name), 0)
    assert not isinstance(raised.value, SizeChanges)


def test_what_changes_all_the_time_is_refused(tmp_path: Path) -> None:
    film = broken.size_changes(tmp_path / "film.ts", times=20)
    with pytest.raises(UnsupportedSource, match="and 19 times more") as raised:
        read_timeline(Source(str(film), film.name), 0)
    assert not isinstance(raised.value, SizeChanges)


def test_what_is_damaged_is_not_cut(tmp_path: Path) -> None:
    """A copy would not say any more that something is missing."""
    film = broken.size_changes(tmp_path / "film.ts")
    at = changes_of(film).at
    data = film.read_bytes()
    packets = [data[n : n + 188] for n in range(0, len(data), 188)]
    pictures = [n for n, packet in enumerate(packets) if packet[1] & 0x1F == 1 and packet[2] == 0]
    film.write_bytes(b"".join(packet for n, packet in enumerate(packets) if n not in pictures[30:34]))
    with pytest.raises(UnsupportedSource, match=r"film\.ts: cannot be cut, as it is damaged at"):
        write_parts(Source(str(film), film.name), 0, at, [str(tmp_path / f"{n}.ts") for n in range(2)])


def placed(cut: _Cut, index: int, kind: str, pts: int | None, key: bool = False) -> int:
    packet: Any = SimpleNamespace(
        stream_index=index, stream=SimpleNamespace(type=kind), pts=pts, dts=pts, time_base=BASE, is_keyframe=key
    )
    return cut.place(packet)


def test_subtitles_go_by_when_they_are_shown_and_sound_also_by_where_it_begins_anew() -> None:
    cut = _Cut(0, BASE, (900,))
    assert placed(cut, 0, "video", 0, key=True) == 0
    # Two packets of one time are usual there, and no splice.
    assert [placed(cut, 2, "subtitle", pts) for pts in (100, 100, 200, 200, 901, 901)] == [0, 0, 0, 0, 1, 1]
    assert [placed(cut, 1, "audio", pts) for pts in (870, 890, 880, 905)] == [0, 0, 1, 1]
    assert placed(cut, 3, "data", None) == 0
    assert placed(cut, 0, "video", 900, key=True) == 1
    assert placed(cut, 3, "data", None) == 1, "what says no time goes with the picture"


def test_parts_are_cut_once_and_again_when_they_are_not_what_was_written(tmp_path: Path) -> None:
    films, store = tmp_path / "films", Store(str(tmp_path / "store"))
    films.mkdir()
    film = broken.size_changes(films / "film.ts")
    profile = read_profile(None, {"scale": 2})
    (title,) = scan(str(films), str(tmp_path / "out"), profile)
    changes = changes_of(film)
    parts = part_titles(title, changes, profile, store)
    assert [part.name for part in parts] == ["film.part1.ts", "film.part2.ts"]
    assert part_titles(title, changes, profile, store) == parts, "stamps and all"
    Path(parts[0].uri).write_bytes(b"other")
    again = part_titles(title, changes, profile, store)
    assert again[0].size == parts[0].size
    assert again[1] == parts[1], "another run may be reading it"
    assert whole_of("film.part2.ts") == "film.ts"
    assert whole_of("department.ts") == "department.ts"


def test_a_title_whose_parts_are_made_is_not_priced_as_unmade(tmp_path: Path) -> None:
    title = Title(name="news/film.ts", uri="", size=1, stamp="", container="mp4")
    store, output = Store(str(tmp_path / "store")), Store(str(tmp_path / "out"))
    assert not budget._is_there(title, store, output)
    output.write("news/film.part1.mp4", b"a master")
    assert budget._is_there(title, store, output)
