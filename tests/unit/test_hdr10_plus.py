"""What HDR10+ says of each frame of a source, the master's says too, to the byte; or it is said before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from tasks.check import check_master
from tasks.dynamic import OfFrames
from tasks.finish import master_key
from tasks.media.contract.contract import compare, frames_said
from tasks.media.reading.hdr10_plus import of_frames
from tasks.media.reading.side_data import attached
from tasks.media.reading.source import Source
from tasks.media.reading.units import in_leb128, in_sei, leb128, sei_messages
from tasks.media.writing.bitstream import Said, Sayer
from tasks.profile import read_profile
from tasks.store import Store
from tests import mastered
from tests.hdr import hdr10_plus, make_hdr
from tests.remux import Change, remux

MESSAGES = [hdr10_plus(1000 + 7 * number) for number in range(12)]


def source(path: Path) -> Source:
    return Source(str(path), path.name)


def understood(path: Path) -> list[bytes]:
    """What FFmpeg makes of it when it decodes the frames."""
    with av.open(str(path)) as container:
        return [bytes(attached(frame).get("DYNAMIC_HDR_PLUS", b"")) for frame in container.decode(video=0)]


def film(folder: Path, name: str = "film.mp4", messages: list[bytes] = MESSAGES) -> Path:
    return make_hdr(folder / "films" / name, size=(128, 192), messages=messages)


def master_of(path: Path, folder: Path, codec: str, **settings: Any) -> tuple[Path, tuple[str, ...], dict[str, bool]]:
    """The master, remarks on the source, and what its check says."""
    settings = {"master.codec": codec, "master.preset": "10" if codec == "av1" else "ultrafast", **settings}
    done = mastered.remaster(path.parent, str(folder / "out"), str(folder / "store"), **settings)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    remarks = tuple(remark for remark in done.plan.title.remarks if "HDR10+" in remark)
    return Path(done.master.uri), remarks, {name: ok for name, ok, _ in check.lines}


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_messages_are_read_in_the_order_shown(name: str, tmp_path: Path) -> None:
    path = film(tmp_path, name)
    assert of_frames(source(path), 0) == MESSAGES
    assert len(set(understood(path))) == len(MESSAGES)


@pytest.mark.parametrize("codec", ["h265", "av1"])
def test_each_frame_of_the_master_says_what_its_own_did(codec: str, tmp_path: Path) -> None:
    path = film(tmp_path)
    master, remarks, check = master_of(path, tmp_path, codec)
    assert of_frames(source(master), 0) == MESSAGES
    assert understood(master) == understood(path)
    assert not remarks
    assert check["HDR10+"] and check["HDR10+ of frames"] and all(check.values())
    assert not [row for row in compare(source(path), source(master)) if row.verdict == "lost"]


def test_a_master_is_a_source_like_any(tmp_path: Path) -> None:
    """What AV1 says is read too."""
    first, _, _ = master_of(film(tmp_path), tmp_path / "first", "av1", scale=1)
    (tmp_path / "more").mkdir()
    first = first.rename(tmp_path / "more" / "film.mp4")
    second, remarks, check = master_of(first, tmp_path / "second", "h265", scale=1)
    assert not remarks and all(check.values())
    assert of_frames(source(second), 0) == MESSAGES


def test_frames_without_a_message_have_none(tmp_path: Path) -> None:
    said = [message if number % 3 == 0 else b"" for number, message in enumerate(MESSAGES)]
    path = film(tmp_path, messages=said)
    master, _, check = master_of(path, tmp_path, "h265")
    assert of_frames(source(master), 0) == said
    assert all(check.values())


def test_ranges_of_a_master_say_it_too(tmp_path: Path) -> None:
    path = film(tmp_path)
    settings = {"shards.frames": 6, "master.ranges": 2}
    master, _, check = master_of(path, tmp_path, "h265", **settings)
    assert of_frames(source(master), 0) == MESSAGES
    assert all(check.values())


@pytest.mark.parametrize(
    ("codec", "messages", "why"),
    [
        ("ffv1", MESSAGES, "ffv1 has no place for it"),
        ("h265", [hdr10_plus(1000, parts=2)] * 12, "it names parts of the source's picture by their place"),
    ],
)
def test_what_does_not_survive_is_said_before(codec: str, messages: list[bytes], why: str, tmp_path: Path) -> None:
    path = film(tmp_path, "film.mkv", messages)
    master, (remark,), check = master_of(path, tmp_path, codec)
    assert why in remark
    assert not any(of_frames(source(master), 0))
    assert all(check.values())


def test_what_a_codec_cannot_say_is_no_loss_to_who_knows_that_it_was_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path, "film.mkv")
    master, _, _ = master_of(path, tmp_path, "ffv1")
    asked = read_profile(None, {"master.codec": "ffv1"}).master.encoding()
    verdicts = [
        next(row.verdict for row in compare(source(path), source(master), asked=one) if row.name == "HDR10+")
        for one in (None, asked)
    ]
    assert verdicts == ["lost", "changed"]


def test_messages_go_with_their_frames_where_times_had_to_be_mended(tmp_path: Path) -> None:
    """Two frames of one time: whose message is whose cannot be known, and all others keep theirs."""
    path = film(tmp_path, "whole.mkv")

    def late(packet: Any, number: int) -> bool:
        packet.pts = 250 if packet.pts == 208 else packet.pts  # milliseconds: frame 5 has the time of frame 6
        return True

    remux(path, tmp_path / "films" / "film.mkv", Change(packet=late))
    path.unlink()
    master, _, check = master_of(path, tmp_path, "h265")
    assert all(check.values())
    assert of_frames(source(master), 0) == [b"" if number in {5, 6} else one for number, one in enumerate(MESSAGES)]


def test_damaged_packets_have_no_message_and_no_others_lose_theirs(tmp_path: Path) -> None:
    path = film(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(MESSAGES[4])
    data[at - 8 : at] = b"\xff" * 8  # of the unit's length, among others
    path.write_bytes(data)
    found = of_frames(source(path), 0)
    assert found == [b"" if number == 4 else one for number, one in enumerate(MESSAGES)]


def test_an_sdr_master_says_nothing_of_it(tmp_path: Path) -> None:
    path = film(tmp_path)
    master, remarks, check = master_of(path, tmp_path, "h265", **{"hdr.mode": "tonemap"})
    assert not remarks and not any(of_frames(source(master), 0))
    assert all(check.values())
    rows = {row.name: row.verdict for row in compare(source(path), source(master))}
    assert rows["HDR10+"] == "changed"


def test_a_message_of_another_frame_is_no_such_thing() -> None:
    swapped = [MESSAGES[1], MESSAGES[0], *MESSAGES[2:]]
    assert [row.verdict for row in frames_said(MESSAGES, MESSAGES)] == ["kept"]
    assert [row.verdict for row in frames_said(MESSAGES, swapped)] == ["lost"]
    assert [row.verdict for row in frames_said(MESSAGES, [*MESSAGES[:-1], b""])] == ["lost"]
    assert not list(frames_said([b""] * 3, [b""] * 3))


def test_a_check_sees_that_one_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tasks.dynamic.hdr10_plus_of", lambda plan, source: OfFrames([*MESSAGES[:5], b"", *MESSAGES[6:]], 0)
    )
    _, _, check = master_of(film(tmp_path), tmp_path, "h265")
    assert check["HDR10+"] and not check["HDR10+ of frames"]


def test_masters_made_before_it_was_carried_are_made_anew(tmp_path: Path) -> None:
    path = film(tmp_path)
    done = mastered.remaster(path.parent, str(tmp_path / "out"), str(tmp_path / "store"))
    assert done.plan.title.probe is not None
    before = replace(done.plan.title, probe=replace(done.plan.title.probe, hdr10_plus=False))
    plans = done.plan, replace(done.plan, title=before)
    key, another = (master_key(plan, done.profile, done.records, Store(done.output)) for plan in plans)
    assert key == done.master.key != another


def test_long_messages_and_what_looks_like_the_beginning_of_a_unit() -> None:
    for message in (b"\x00\x00\x01\x00\x00\x00\x00\x03" * 70, b"\x80\x00", b"\x00\x00"):
        unit = in_sei(4, message)
        assert b"\x00\x00\x01" not in unit and b"\x00\x00\x00" not in unit
        assert list(sei_messages(unit)) == [(4, message)]
    assert [leb128(in_leb128(value) + b"\xff", 0)[0] for value in (0, 127, 128, 70_000)] == [0, 127, 128, 70_000]


def test_codecs_whose_streams_have_no_place_for_it_are_left_alone() -> None:
    packet = av.Packet(b"\x00\x00\x01\x65picture")
    packet.pts = 0
    assert Sayer(Said(), "vp9", {0: [MESSAGES[0]]}.get).said(packet) is packet
