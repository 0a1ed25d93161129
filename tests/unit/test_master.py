"""Masters in every codec and container: frames, times, colour and copied packets, read back by PyAV alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tasks.errors import UnsupportedSource
from tasks.media.picture.pixels import Layout, Planes, to_frame, to_planes
from tasks.media.picture.size import Enlargement
from tasks.media.reading.probe import Probe, probe
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import Timeline, read_timeline
from tasks.media.writing.codecs import Container, EncodeSettings, containers_for, master_colour, master_layout
from tasks.media.writing.encode import require_encodable
from tasks.media.writing.join import Range
from tasks.media.writing.master import Contents, Picture, choose_container, write_master
from tests.clips import Clip, make
from tests.contract import copied_packets, picture_times

CODECS: dict[str, dict[str, Any]] = {
    "h264": {"preset": "ultrafast"},
    "h265": {"preset": "ultrafast"},
    "av1": {"preset": "12"},
    "vp9": {"preset": "8"},
    "prores": {},
    "dnxhr": {},
    "ffv1": {},
}
SCALES = {"dnxhr": 4}  # it takes 256x120 and more
EVERY = [(codec, container) for codec in CODECS for container in containers_for(codec)]  # type: ignore[arg-type]
CLIP = Clip(
    frames=14, rate=Fraction(24000, 1001), subtitle=True, chapters=True, colour=(5, 5, 6, 1),
    sample_aspect=Fraction(16, 15),
)  # fmt: skip


@dataclass(frozen=True)
class Film:
    """A source as the finishing stage knows it."""

    source: Source
    probe: Probe
    timeline: Timeline

    def planes(self, layout: Layout, scale: int) -> list[Planes]:
        """Smooth pictures of the master's size, each with something of its own."""
        found = []
        for number in range(len(self.timeline)):
            shapes = layout.plane_shapes(self.probe.height * scale, self.probe.width * scale)
            top = (1 << layout.depth) - 1
            found.append(
                tuple(
                    ((np.add.outer(np.arange(h), np.arange(w)) * 3 + number * 9) % (top // 2) + top // 4).astype(
                        layout.dtype
                    )
                    for h, w in shapes
                )
            )
        return found

    def master(self, path: Path, container: Container, settings: EncodeSettings) -> Contents:
        """Write a master of them."""
        scale = SCALES.get(settings.codec, 2)
        layout = master_layout(settings, self.probe.layout, "film")
        colour = master_colour(self.probe.colour, layout)
        height, width = self.probe.height * scale, self.probe.width * scale
        require_encodable(settings, height, width, layout, "film")
        frames = (to_frame(planes, layout) for planes in self.planes(layout, scale))
        picture = Picture(height, width, layout, colour, self.timeline)
        ranges = [Range(0, len(self.timeline), frames)]
        return write_master(str(path), container, self.source, self.probe, settings, picture, ranges)


def film(path: Path) -> Film:
    source = Source(str(path), path.name)
    found = probe(source)
    return Film(source, found, read_timeline(source, found.stream))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Film]:
    """A source of each kind: its subtitles are of the kind that its container holds."""
    folder = tmp_path_factory.mktemp("films")
    return {kind: film(make(folder / f"film.{kind}", CLIP)) for kind in ("mp4", "mov", "mkv")}


@pytest.mark.parametrize(("codec", "container"), EVERY)
def test_every_codec_in_every_container_keeps_the_contract(
    codec: Any, container: Container, films: dict[str, Film], tmp_path: Path
) -> None:
    one = films[container]
    settings = EncodeSettings(codec, **CODECS[codec])
    contents = one.master(tmp_path / f"master.{container}", container, settings)
    master, source = tmp_path / f"master.{container}", Path(str(one.source.place))
    times = picture_times(source, 0)
    exact = times if container != "mkv" else [Fraction(round(t * 1000), 1000) for t in times]
    assert picture_times(master, contents.picture) == exact
    assert copied_packets(master, contents.picture) == copied_packets(source, 0)
    with av.open(str(master)) as held:
        context = held.streams[contents.picture].codec_context
        scale = SCALES.get(codec, 2)
        assert (context.width, context.height) == (64 * scale, 48 * scale)
        assert (context.colorspace, context.color_primaries, context.color_trc) == (5, 5, 6)
        assert context.color_range == 1
        assert held.streams[contents.picture].sample_aspect_ratio == Fraction(16, 15)
        assert ("10" in context.pix_fmt) == (codec != "vp9")
        assert len(held.chapters()) == 2


@pytest.mark.parametrize(("codec", "container"), EVERY)
def test_the_same_master_twice_is_the_same_bytes(
    codec: Any, container: Container, films: dict[str, Film], tmp_path: Path
) -> None:
    settings = EncodeSettings(codec, **CODECS[codec])
    for number in range(2):
        films[container].master(tmp_path / f"{number}.{container}", container, settings)
    assert (tmp_path / f"0.{container}").read_bytes() == (tmp_path / f"1.{container}").read_bytes()


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_the_shortest_titles_have_masters_too(codec: Any, frames: int, tmp_path: Path) -> None:
    one = film(make(tmp_path / "film.mkv", replace(CLIP, frames=frames, subtitle=False, chapters=False)))
    container: Container = "mov" if codec == "dnxhr" else "mkv"
    one.master(tmp_path / f"master.{container}", container, EncodeSettings(codec, **CODECS[codec]))
    assert len(picture_times(tmp_path / f"master.{container}", 0)) == frames


@pytest.mark.parametrize("depth", [10, 12, 16])
@pytest.mark.parametrize("chroma", ["420", "422", "444"])
def test_a_lossless_master_holds_every_sample(depth: int, chroma: Any, films: dict[str, Film], tmp_path: Path) -> None:
    settings = EncodeSettings("ffv1", bit_depth=depth, chroma=chroma)
    one = films["mkv"]
    one.master(tmp_path / "master.mkv", "mkv", settings)
    layout = master_layout(settings, one.probe.layout, "film")
    with av.open(str(tmp_path / "master.mkv")) as held:
        for frame, wanted in zip(held.decode(video=0), one.planes(layout, 2), strict=True):
            for a, b in zip(to_planes(frame, layout), wanted, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("kind", "codec", "wanted", "container", "remark"),
    [
        ("mp4", "h265", "auto", "mp4", ""),
        ("mov", "h265", "auto", "mov", ""),
        ("mkv", "h265", "auto", "mkv", ""),
        ("mp4", "prores", "auto", "mov", ""),
        ("mkv", "av1", "mp4", "mp4", "subtitle"),
        ("mp4", "ffv1", "auto", "mp4", ""),
    ],
)
def test_the_container_is_the_sources_own_unless_it_cannot_be(
    kind: str, codec: Any, wanted: str, container: str, remark: str, films: dict[str, Film]
) -> None:
    one = films[kind]
    chosen, remarks = choose_container(one.probe, one.source, EncodeSettings(codec), wanted)
    assert chosen == container
    assert bool(remarks) == bool(remark)
    assert remark in " ".join(remarks)


def test_a_stream_is_not_lost_to_keep_times_to_the_tick(tmp_path: Path) -> None:
    """MP4 would hold the times of a transport stream, and not its DVB subtitles; Matroska rounds to milliseconds."""
    plain = make(tmp_path / "plain.ts", replace(CLIP, subtitle=False, chapters=False))
    with av.open(str(plain)) as source, av.open(str(tmp_path / "film.ts"), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        words = target.add_mux_stream("dvb_subtitle", time_base=Fraction(1, 90_000))
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
        caption = av.Packet(bytes([0x20, 0x00, 0x0F, 0x10, 0, 1, 0, 2, 0, 0, 0xFF]))
        caption.stream, caption.pts, caption.dts, caption.time_base = words, 9000, 9000, Fraction(1, 90_000)
        target.mux(caption)
    one = film(tmp_path / "film.ts")
    assert [s.type for s in one.probe.streams] == ["video", "audio", "subtitle"]
    chosen, remarks = choose_container(one.probe, one.source, EncodeSettings("h265"), "auto")
    assert chosen == "mkv"
    assert "rounds times" in " ".join(remarks)
    assert "not carried" not in " ".join(remarks)


@pytest.mark.parametrize(
    ("settings", "height", "width", "words"),
    [
        (EncodeSettings("h264", chroma="420"), 33, 64, "multiples of 2x2.*one that is no whole number"),
        (EncodeSettings("h265"), 8, 8, "it takes 64x16 and more"),
        (EncodeSettings("h264", preset="quick"), 96, 128, "does not take these settings.*Correct master.preset"),
        (EncodeSettings("h265", preset="quick"), 96, 128, "does not take these settings.*Correct master.preset"),
        (EncodeSettings("ffv1", options=(("coda", "1"),)), 96, 128, "it knows no option coda"),
    ],
)
def test_what_an_encoder_will_not_take_is_said_before_any_work(
    settings: EncodeSettings, height: int, width: int, words: str
) -> None:
    with pytest.raises(UnsupportedSource, match=f"film: .*{words}"):
        require_encodable(settings, height, width, Layout("yuv", 10, 1, 1), "film")


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores", "dnxhr", "ffv1"])
def test_at_a_scale_that_is_no_whole_number_no_side_is_one_that_an_encoder_will_not_take(codec: Any) -> None:
    settings = EncodeSettings(codec)
    sources = [Layout("yuv", 8, x, y) for x, y in ((1, 1), (1, 0), (2, 0), (0, 0))]
    for source in (*sources, Layout("gray", 8), Layout("rgb", 8)):
        layout = master_layout(settings, source, "film")
        for scale in ("1.5", "1.01", "7/3"):
            require_encodable(settings, *Enlargement.of(scale, layout).size(133, 267), layout, "film")


@pytest.mark.parametrize(
    ("codec", "source", "wanted"),
    [
        ("h265", Layout("yuv", 8, 1, 1), Layout("yuv", 10, 1, 1)),
        ("h265", Layout("yuv", 12, 1, 0), Layout("yuv", 12, 1, 0)),
        ("h264", Layout("gray", 8), Layout("gray", 10)),
        ("h264", Layout("rgb", 8), Layout("yuv", 10, 0, 0)),
        ("ffv1", Layout("rgb", 8), Layout("rgb", 10)),
        ("ffv1", Layout("gray", 16), Layout("gray", 16)),
        ("h265", Layout("yuv", 8, 2, 0), Layout("yuv", 10, 1, 0)),
        ("prores", Layout("yuv", 8, 1, 1), Layout("yuv", 10, 1, 0)),
        ("av1", Layout("yuv", 8, 0, 0), Layout("yuv", 10, 1, 1)),
        ("vp9", Layout("yuv", 8, 0, 0), Layout("yuv", 8, 0, 0)),
        ("dnxhr", Layout("yuv", 8, 1, 1), Layout("yuv", 10, 1, 0)),
        ("h264_nvenc", Layout("yuv", 8, 1, 1), Layout("yuv", 8, 1, 1)),
        ("h265_nvenc", Layout("yuv", 8, 1, 0), Layout("yuv", 10, 1, 1)),
    ],
)
def test_a_master_never_has_less_depth_than_its_source(codec: Any, source: Layout, wanted: Layout) -> None:
    assert master_layout(EncodeSettings(codec), source, "film") == wanted


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="this machine may have such an encoder")
@pytest.mark.parametrize("codec", ["h264_nvenc", "h265_nvenc", "av1_nvenc"])
def test_an_encoder_that_this_machine_lacks_is_refused_before_any_work(codec: Any) -> None:
    layout = master_layout(EncodeSettings(codec), Layout("yuv", 8, 1, 1), "film")
    with pytest.raises(UnsupportedSource, match=f"film: {codec} does not take these settings.*NVIDIA"):
        require_encodable(EncodeSettings(codec), 720, 1280, layout, "film")


@pytest.mark.parametrize(
    ("settings", "chroma", "profile"),
    [
        (EncodeSettings("dnxhr"), 1, "DNXHR HQX"),
        (EncodeSettings("dnxhr", chroma="444"), 0, "DNXHR 444"),
        (EncodeSettings("dnxhr", bit_depth=8), 1, "DNXHR HQ"),
        (EncodeSettings("dnxhr", bit_depth=8, quality=0), 1, "DNXHR LB"),
        (EncodeSettings("prores"), 1, "HQ"),
        (EncodeSettings("prores", quality=1), 1, "LT"),
        (EncodeSettings("prores", chroma="444"), 0, "4444"),
    ],
)
def test_editing_codecs_have_the_profile_that_was_asked_for(
    settings: EncodeSettings, chroma: int, profile: str, films: dict[str, Film], tmp_path: Path
) -> None:
    films["mov"].master(tmp_path / "master.mov", "mov", settings)
    with av.open(str(tmp_path / "master.mov")) as held:
        assert held.streams.video[0].profile == profile
        assert held.streams.video[0].format.chroma_width(8) == 8 >> chroma


def test_more_depth_than_a_codec_holds_is_refused() -> None:
    with pytest.raises(UnsupportedSource, match=r"has 16 bits a sample and h265 .*ffv1 16"):
        master_layout(EncodeSettings("h265"), Layout("yuv", 16, 0, 0), "film")
