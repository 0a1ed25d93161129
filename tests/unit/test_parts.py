"""Where a picture changes size its source is cut, and every packet is in one of the parts."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tasks.errors import SizeChanges, UnsupportedSource
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import read_timeline
from tasks.media.writing.part import write_parts
from tests import broken
from tests.remux import Change, remux


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
    lost = write_parts(Source(str(film), film.name), 0, at, [str(place) for place in places])
    assert not lost
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


def test_packets_that_say_no_time_that_goes_on_are_refused(tmp_path: Path) -> None:
    """Sound that begins anew twice has no part to be in."""
    film = broken.size_changes(tmp_path / "film.ts")
    at = changes_of(film).at
    twice = tmp_path / "twice.ts"
    twice.write_bytes(film.read_bytes() * 2)
    with pytest.raises(UnsupportedSource, match=r"twice\.ts: cannot be cut, as a packet of it cannot be copied"):
        write_parts(Source(str(twice), twice.name), 0, at, [str(tmp_path / f"{n}.ts") for n in range(2)])
