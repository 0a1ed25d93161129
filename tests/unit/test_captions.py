"""Closed captions: carried by codecs that hold them, and known to be lost by others before anything is upscaled."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.reading.side_data import attached
from tasks.media.reading.source import Source
from tasks.media.writing.bitstream import Said, Sayer
from tasks.media.writing.captions import CAPTIONED, _messages, uncaptioned
from tasks.media.writing.codecs import Codec
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.store import Store
from tests import mastered
from tests.clips import picture
from tests.torture import captioned

NOT_CARRIED = (
    "the source's closed captions are not carried: {} masters are written without; those of av1, av1_nvenc, h264,"
    " h264_nvenc, h265, h265_nvenc hold them"
)


@pytest.mark.parametrize("codec", ["av1", "ffv1", "vp9", "png", "h264"])
def test_the_check_agrees_with_what_was_said_before(codec: str, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    source = captioned(tmp_path / "films" / "film.mp4")
    settings = {"master.codec": codec, "master.preset": "12" if codec == "av1" else None}
    profile = read_profile(None, mastered.SETTINGS | settings)
    (title,) = scan(str(source), str(tmp_path / "out"), profile)
    said = [
        remark for remark in remarks(plan_title(title, profile, Store(str(tmp_path / "plans")))) if "caption" in remark
    ]
    assert said == ([] if codec in CAPTIONED else [NOT_CARRIED.format(codec)])
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [(name, seen) for name, ok, seen in check.lines if not ok] == []
    (seen,) = [seen for name, _, seen in check.lines if name == "closed captions"]
    assert ("not carried" in seen) is bool(said), seen
    if codec != "png":
        rows = {row.name: row for row in compare(Source(str(source), "film"), Source(done.master.uri, "master"))}
        assert rows["closed captions"].verdict == ("lost" if said else "kept")


SAID_BY = [("h264_nvenc", "libx264"), ("h265_nvenc", "libx265"), ("av1_nvenc", "libsvtav1"), ("av1", "libsvtav1")]


@pytest.mark.parametrize("triplets", [1, 31, 80])
@pytest.mark.parametrize(("codec", "encoder"), SAID_BY)
def test_messages_that_are_added_to_packets_are_the_captions_that_decoders_find(
    codec: str, encoder: str, triplets: int, tmp_path: Path
) -> None:
    """Of frames that are coded in another order, some without any. Readers of AV1 know the last message alone."""
    held = {n: np.random.default_rng(n).bytes(3 * triplets) if n % 3 else b"" for n in range(20)}
    sayer = Sayer(Said(), codec, {n: list(_messages(each)) for n, each in held.items()}.get)
    stream: Any
    with av.open(str(tmp_path / "film.mkv"), "w") as output:
        stream = output.add_stream(encoder, rate=25, options={"preset": "10"} if "av1" in codec else {"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(len(held)):
            frame = av.VideoFrame.from_ndarray(picture(number, 128, 96), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = 40 * number, Fraction(1, 1000)
            output.mux([timed(sayer, packet) for packet in stream.encode(frame)])
        output.mux([timed(sayer, packet) for packet in stream.encode(None)])
    with av.open(str(tmp_path / "film.mkv")) as container:
        found = [bytes(attached(frame).get("A53_CC", b"")) for frame in container.decode(video=0)]
    last = -3 * ((triplets - 1) % 31 + 1) if "av1" in codec else 0
    assert found == [each[last:] for each in held.values()]


def timed(sayer: Sayer, packet: av.Packet[Any]) -> av.Packet[Any]:
    """A packet with what is said of its frame, whose number is its time."""
    assert packet.pts is not None and packet.dts is not None
    base, unit = packet.time_base, Fraction(1, 25)
    packet.pts, packet.dts, packet.time_base = round(packet.pts * base / unit), round(packet.dts * base / unit), unit
    return sayer.said(packet)


def test_every_codec_is_known_to_hold_them_or_not() -> None:
    assert {codec for codec in get_args(Codec) if not uncaptioned(codec)} == CAPTIONED


def test_a_source_without_any_is_not_spoken_of(tmp_path: Path) -> None:
    folder = mastered.library(tmp_path / "films")
    profile = read_profile(None, {"master.codec": "ffv1"})
    (title,) = scan(str(folder), str(tmp_path / "out"), profile)
    plan = plan_title(title, profile, Store(str(tmp_path / "store")))
    assert not any("caption" in remark for remark in remarks(plan))
