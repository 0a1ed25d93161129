"""A picture that several encoders encode: one stream all the same, and of intra codecs the very same one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tasks.errors import StoreDamaged, UnsupportedSource, UsageError
from tasks.finish import finish_title, master_key
from tasks.media.contract.contract import compare
from tasks.media.reading.source import Source
from tasks.media.writing import join
from tasks.media.writing.codecs import EncodeSettings
from tasks.media.writing.join import Range, encode_ranges
from tasks.media.writing.ranges import cut, how_many, leave_no_trace, why_whole
from tasks.profile import read_profile
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.contract import copied_packets, picture_times
from tests.hdr import make_hdr
from tests.mastered import Mastered, flip
from tests.torture import TORTURE, captioned, framed

INTRA = ("prores", "dnxhr", "ffv1")
# With frames that are shown in another order than they are decoded in, where the codec has them.
INTER: dict[str, dict[str, object]] = {
    "h264": {"master.preset": "fast"},
    "h265": {"master.preset": "superfast", "master.options": {"x265-params": "bframes=4:b-adapt=0"}},
    "av1": {"master.preset": "12"},
    "vp9": {"master.preset": "8"},
}
# What is added to frames or to key frames, and times that are no plain ones.
CLIPS: dict[str, Callable[[Path], Path]] = {
    "captions.mp4": captioned,
    "captions.mkv": captioned,
    "framed.mp4": framed,
    "graded.mkv": make_hdr,
    **{name.rpartition("/")[2]: TORTURE[name] for name in ("times/8n+7.mkv", "times/broadcast/wrap.ts")},
}
FRAMES, CUTS, STARTS = 60, (12, 33), [0, 24, 42]
# Of irregular times, which show a time that is taken from the wrong frame.
TIMES = [1000 * number + 300 * (number % 3) for number in range(FRAMES)]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranges") / "films"
    clip = Clip(frames=FRAMES, cuts=CUTS, width=160, height=120, time_base=Fraction(1, 24_000), pts=TIMES)
    make(folder / "film.mp4", clip)
    return folder


def master(films: Path, name: str, **settings: object) -> Mastered:
    """The film's master, in an output of its own; its segments are made once for all."""
    root = films.parent
    return mastered.remaster(films, str(root / name), str(root / "store"), **{"master.preset": None, **settings})


def coded(path: str) -> tuple[list[av.Packet[Any]], bytes]:
    """The picture's packets in the order of decoding, and what goes before them."""
    with av.open(path) as held:
        video = held.streams.video[0]
        return [packet for packet in held.demux(video) if packet.size], bytes(video.codec_context.extradata or b"")


def luma(path: str) -> list[np.ndarray]:
    with av.open(path) as held:
        return [frame.to_ndarray(format="gray16le").astype(np.float64) / 257 for frame in held.decode(video=0)]


@pytest.mark.parametrize("codec", INTRA)
def test_of_an_intra_codec_the_master_is_the_same_bytes_however_many_ranges(codec: str, films: Path) -> None:
    whole = master(films, f"{codec}-1", **{"master.codec": codec})
    for ranges in (2, 3, 64):
        cut_up = master(films, f"{codec}-{ranges}", **{"master.codec": codec, "master.ranges": ranges})
        assert Path(cut_up.master.uri).read_bytes() == Path(whole.master.uri).read_bytes()


@pytest.mark.parametrize("codec", INTER)
def test_ranges_of_any_other_codec_are_joined_to_one_stream(codec: str, films: Path) -> None:
    whole = master(films, f"{codec}-1", **{"master.codec": codec}, **INTER[codec])
    cut_up = master(films, f"{codec}-3", **{"master.codec": codec, "master.ranges": 3}, **INTER[codec])
    assert cut_up.receipt.check == []
    source = films / "film.mp4"
    assert picture_times(Path(cut_up.master.uri), 0) == picture_times(source, 0)
    assert copied_packets(Path(cut_up.master.uri), 0) == copied_packets(source, 0)
    packets, extradata = coded(cut_up.master.uri)
    assert extradata == coded(whole.master.uri)[1]
    dts = [packet.dts for packet in packets]
    assert all(one < next for one, next in itertools.pairwise(dts))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert sum(packet.duration for packet in packets) == sum(packet.duration for packet in coded(whole.master.uri)[0])
    assert [n for n, packet in enumerate(packets) if packet.is_keyframe and n in STARTS] == STARTS


@pytest.mark.parametrize("codec", INTER)
def test_each_range_is_decoded_without_the_others(codec: str, films: Path) -> None:
    cut_up = master(films, f"{codec}-3", **{"master.codec": codec, "master.ranges": 3}, **INTER[codec])
    together = luma(cut_up.master.uri)
    with av.open(cut_up.master.uri) as held:
        video = held.streams.video[0]
        packets = [packet for packet in held.demux(video) if packet.size]
        for start, stop in itertools.pairwise([*STARTS, FRAMES]):
            alone = av.CodecContext.create(video.codec_context.name, "r")
            alone.extradata = video.codec_context.extradata
            frames = [frame for packet in (*packets[start:stop], None) for frame in alone.decode(packet)]
            assert len(frames) == stop - start
            for frame, wanted in zip(frames, together[start:stop], strict=True):
                np.testing.assert_array_equal(frame.to_ndarray(format="gray16le") / 257, wanted)


@pytest.mark.parametrize("codec", INTER)
def test_ranges_look_as_good_as_the_whole(codec: str, films: Path) -> None:
    wanted = luma(master(films, "ffv1-1", **{"master.codec": "ffv1"}).master.uri)

    def fidelity(ranges: int) -> float:
        made = master(
            films, f"{codec}-{ranges}", **{"master.codec": codec, "master.ranges": ranges}, **INTER[codec]
        ).master
        error = np.mean([np.mean((a - b) ** 2) for a, b in zip(luma(made.uri), wanted, strict=True)])
        return float(10 * np.log10(255**2 / error))

    assert fidelity(3) > fidelity(1) - 0.2


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_what_is_said_of_single_frames_stays_with_them(codec: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    source = CLIPS[name](tmp_path / "films" / name)
    settings: dict[str, object] = {"master.codec": codec, "master.ranges": 3, "shards.frames": 4, "shards.shortest": 2}
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    assert done.receipt.check == []
    assert sum(packet.is_keyframe for packet in coded(done.master.uri)[0]) >= 3
    rows = compare(Source(str(source), name), Source(done.master.uri, "master"))
    assert [row for row in rows if row.verdict == "lost"] == []


@pytest.mark.parametrize("codec", INTRA)
def test_what_the_container_says_of_light_is_the_same_too(codec: str, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    make_hdr(tmp_path / "films" / "light.mkv")
    masters = set()
    for ranges in (1, 3):
        settings: dict[str, object] = {
            "master.codec": codec,
            "master.ranges": ranges,
            "master.preset": None,
            "scale": 3,
        }
        place, store = str(tmp_path / str(ranges)), str(tmp_path / "store")
        done = mastered.remaster(tmp_path / "films", place, store, **settings, **{"shards.frames": 4})
        assert done.receipt.check == []
        masters.add(done.master.sha256)
    assert len(masters) == 1


def test_a_segment_that_is_damaged_is_named_and_nothing_is_left(films: Path, tmp_path: Path) -> None:
    done = master(films, "ffv1-3", **{"master.codec": "ffv1", "master.ranges": 3})
    segment, output = Path(done.store) / done.records[-1].segment, Store(str(tmp_path))
    whole = segment.read_bytes()
    flip(segment, len(whole) // 2)
    try:
        with pytest.raises(StoreDamaged, match=r"its segment .* is gone, or changed"):
            finish_title(done.plan, done.profile, done.records, Store(done.store), output, lambda _: None, lambda: None)
        assert list(tmp_path.iterdir()) == []
    finally:
        segment.write_bytes(whole)


def test_an_interruption_ends_all_encoders_and_leaves_nothing(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = master(films, "ffv1-3", **{"master.codec": "ffv1", "master.ranges": 3})

    def interrupted(_: object) -> Iterator[Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(join, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finish_title(
            done.plan, done.profile, done.records, Store(done.store), Store(str(tmp_path)), lambda _: None, lambda: None
        )
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode")]


def test_where_ranges_leave_no_trace_the_master_is_one_that_is_there(films: Path) -> None:
    def keys(codec: str, *wanted: int | str) -> list[str]:
        done = master(films, "ffv1-3", **{"master.codec": "ffv1", "master.ranges": 3})
        profiles = [
            read_profile(None, {"scale": 2, "master.codec": codec, "master.ranges": ranges}) for ranges in wanted
        ]
        return [master_key(done.plan, profile, done.records, Store(done.output)) for profile in profiles]

    assert len(set(keys("ffv1", 1, 2, 3, "auto"))) == 1
    assert len(set(keys("h265", 1, 2, 3))) == 3
    assert len(set(keys("h265", 1, "auto"))) == 1, "it is a short title"


@pytest.mark.parametrize(
    ("starts", "frames", "ranges", "first"),
    [
        ([0, 10, 20, 30], 40, 1, [0]),
        ([0, 10, 20, 30], 40, 2, [0, 2]),
        ([0, 10, 20, 30], 40, 64, [0, 1, 2, 3]),
        ([0, 90, 95], 100, 3, [0, 1]),
        ([0], 100, 3, [0]),
    ],
)
def test_ranges_begin_with_shards_and_are_about_equally_long(
    starts: list[int], frames: int, ranges: int, first: list[int]
) -> None:
    assert cut(starts, frames, ranges) == first


def test_how_many_there_are_follows_from_the_length_alone() -> None:
    h265 = EncodeSettings("h265")
    assert [how_many("auto", h265, frames) for frames in (1, 28_799, 28_800, 172_800)] == [1, 1, 2, 12]
    assert how_many("auto", EncodeSettings("h265", options=(("maxrate", "20M"),)), 172_800) == 1


@pytest.mark.parametrize(
    ("codec", "options", "why"),
    [
        ("h265", {}, ""),
        ("h264", {"x264-params": "keyint=12:min-keyint=12:open-gop=0"}, ""),
        ("vp9", {"b": "0"}, ""),
        ("av1", {"svtav1-params": "tune=0:rc=0:keyint=240"}, ""),
        ("av1", {"svtav1-params": "tune=0:rc=1:tbr=4000"}, "a rate .rc, tbr."),
        ("h264", {"b": "8M"}, "a rate .b."),
        ("h264", {"x264-params": "keyint=12:vbv_maxrate=9000"}, "a rate .vbv-maxrate."),
        ("h265", {"x265-params": "strict-cbr"}, "a rate .strict-cbr."),
        ("h265_nvenc", {}, "NVENC"),
        ("png", {}, "one by one"),
    ],
)
def test_an_encoder_that_keeps_to_a_rate_gets_all_frames(codec: Any, options: dict[str, str], why: str) -> None:
    settings = EncodeSettings(codec, options=tuple(options.items()))
    assert bool(why_whole(settings)) == bool(why)
    overrides = {"master.codec": codec, "master.options": options, "master.ranges": 2}
    if not why:
        assert read_profile(None, overrides).master.ranges == 2
        return
    with pytest.raises(UsageError, match=f"master: ranges = 2 cannot be, as .*{why}.*leave it at auto"):
        read_profile(None, overrides)


@pytest.mark.parametrize(
    ("codec", "options", "none"),
    [
        ("ffv1", (), True), ("ffv1", (("g", "10"),), False), ("prores", (), True), ("dnxhr", (), True),
        ("dnxhr", (("mbd", "rd"),), False), ("h265", (), False),
    ],
)  # fmt: skip
def test_only_frames_that_lean_on_no_other_leave_no_trace(
    codec: Any, options: tuple[tuple[str, str], ...], none: bool
) -> None:
    assert leave_no_trace(EncodeSettings(codec, options=options)) == none


class Encoder:
    """Gives a packet a frame, in the order given."""

    def __init__(self, extradata: bytes) -> None:
        self.extradata, self.time_base = extradata, Fraction(1, 25)

    def packets(self, one: Range) -> Iterator[av.Packet[Any]]:
        for number, _ in enumerate(one.frames, one.start):
            packet: av.Packet[Any] = av.Packet(bytes([number % 256]))
            packet.pts, packet.is_keyframe = number, number == one.start
            yield packet


def ranges_of(*frames: Iterator[Any]) -> list[Range]:
    return [Range(3 * number, 3 * number + 3, each) for number, each in enumerate(frames)]


def test_streams_with_other_headers_are_not_joined(tmp_path: Path) -> None:
    def encode(one: Range) -> tuple[Any, Iterator[av.Packet[Any]]]:
        encoder = Encoder(b"another" if one.start == 3 else b"one")
        return encoder, encoder.packets(one)

    ranges = ranges_of(iter("abc"), iter("def"))
    joined = encode_ranges(encode, ranges, list(range(6)), str(tmp_path / "master"), "film")
    with pytest.raises(UnsupportedSource, match=r"film: the encoders of its 2 ranges .* Set master.ranges = 1"):
        next(joined)


def test_when_one_encoder_fails_the_others_stop(tmp_path: Path) -> None:
    begun = threading.Event()

    def endless() -> Iterator[str]:
        while True:
            begun.set()
            yield "frame"

    def failing() -> Iterator[str]:
        begun.wait(10)
        raise OSError("No space left on device")
        yield

    def encode(one: Range) -> tuple[Any, Iterator[av.Packet[Any]]]:
        encoder = Encoder(b"one")
        return encoder, (packet for packet in encoder.packets(one) if packet.pts < 0)

    with pytest.raises(OSError, match="No space left"):
        next(encode_ranges(encode, ranges_of(endless(), failing()), list(range(6)), str(tmp_path / "master"), "film"))


def test_no_more_encoders_are_at_work_at_once_than_there_are_cores_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(join.os, "cpu_count", lambda: 4)
    working, most, lock = 0, 0, threading.Lock()

    def encode(one: Range) -> tuple[Any, Iterator[av.Packet[Any]]]:
        encoder = Encoder(b"one")

        def packets() -> Iterator[av.Packet[Any]]:
            nonlocal working, most
            with lock:
                working += 1
                most = max(most, working)
            yield from encoder.packets(one)
            with lock:
                working -= 1

        return encoder, packets()

    ranges = ranges_of(*(iter("abc") for _ in range(7)))
    joined = list(encode_ranges(encode, ranges, list(range(21)), str(tmp_path / "master"), "film"))
    assert b"".join(bytes(packet) for packet in joined) == bytes(range(21))
    assert [packet.pts for packet in joined if packet.is_keyframe] == list(range(0, 21, 3))
    assert most <= 2
    assert list(tmp_path.iterdir()) == []
