"""What an HDR picture says of its grading: read from every codec, written to every codec, equal to the last unit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout
from tasks.media.reading.mastering import Mastering, MasteringDisplay, read_mastering, said_alike
from tasks.media.reading.side_data import first_side_data
from tasks.media.reading.source import Source
from tasks.media.writing.bitstream import Said, Sayer
from tasks.media.writing.codecs import MUXER, Codec, Container, EncodeSettings, containers_for
from tasks.media.writing.encode import add_picture
from tests.hdr import LEVELS, make_hdr

_UNIT = Fraction(1, 50_000)
DISPLAY = MasteringDisplay(
    tuple(value * _UNIT for value in (35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450)),
    Fraction(50, 10_000),
    Fraction(1000),
)
SAID = Mastering(DISPLAY, LEVELS, (Fraction(314), 15635 * _UNIT, 16450 * _UNIT))
COLOUR = Colour(9, 9, 16, False, "topleft")
# NVENC needs a GPU; it says it by the same units as the others of its kind.
CODECS: tuple[Codec, ...] = ("h264", "h265", "av1", "ffv1", "prores", "dnxhr")
PLACES = [(codec, container) for codec in CODECS for container in containers_for(codec)]


def said_by(path: Path) -> Mastering | None:
    return read_mastering(first_side_data(Source(str(path), path.name), 0).standing)


def write(path: Path, codec: Codec, container: Container, said: Mastering) -> None:
    layout = Layout("yuv", 10, 1, 0 if codec in {"prores", "dnxhr"} else 1)
    settings = EncodeSettings(codec, options=(("g", "3"),) if codec in {"h264", "h265"} else ())
    with av.open(str(path), "w", format=MUXER[container]) as output:
        rate = Fraction(24)
        stream, encoder = add_picture(output, settings, 128, 256, layout, COLOUR, 1 / rate, rate, Fraction(1), said)
        say = Sayer(Said(said), codec).said
        for number in (*range(7), None):
            frame = None
            if number is not None:
                frame = av.VideoFrame(256, 128, layout.pix_fmt)
                for plane in frame.planes:
                    noise = np.random.default_rng(number).integers(0, 4, plane.buffer_size, dtype=np.uint8)
                    plane.update(noise.tobytes())
                frame.pts, frame.time_base = number, 1 / rate
                frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, 16, 1
            for packet in encoder.encode(frame):
                packet.stream, packet.duration = stream, 1
                output.mux(say(packet))


@pytest.mark.parametrize(("codec", "container"), PLACES, ids=lambda value: value)
def test_every_master_that_can_be_hdr_says_it(codec: Codec, container: Container, tmp_path: Path) -> None:
    path = tmp_path / f"film.{container}"
    write(path, codec, container, SAID)
    found = said_by(path)
    assert found is not None and found.display is not None
    assert found.light == LEVELS
    wanted = (*DISPLAY.primaries, DISPLAY.dimmest, DISPLAY.brightest)
    held = (*found.display.primaries, found.display.dimmest, found.display.brightest)
    for one, other in zip(wanted, held, strict=True):
        # AV1 counts in other units, and containers in floats.
        assert abs(one - other) <= (Fraction(1, 1 << 15) if codec == "av1" else Fraction(1, 10**9))
    if codec in {"h264", "h265"}:
        assert found == SAID
    with av.open(str(path)) as film:
        assert sum(1 for _ in film.decode(film.streams.video[0])) == 7
        context = film.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (9, 9, 16)


def test_every_key_frame_says_it_so_that_a_film_can_be_entered_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write(path, "h265", "mp4", SAID)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        packets = [bytes(packet) for packet in film.demux(stream) if packet.size and packet.is_keyframe]
    assert len(packets) > 1
    light = b"\x4e\x01\x90\x04" + LEVELS[0].to_bytes(2, "big") + LEVELS[1].to_bytes(2, "big")
    assert all(packet.count(light) == 1 for packet in packets)


def test_it_is_read_as_an_encoder_wrote_it(tmp_path: Path) -> None:
    found = said_by(make_hdr(tmp_path / "film.mp4", frames=2))
    assert found == Mastering(DISPLAY, LEVELS)
    assert said_by(make_hdr(tmp_path / "bare.mp4", frames=2, tagged=False)) is None


def test_a_part_of_it_is_said_without_the_rest(tmp_path: Path) -> None:
    for number, said in enumerate(
        (Mastering(light=(1, 0)), Mastering(display=DISPLAY), Mastering(ambient=SAID.ambient))
    ):
        write(tmp_path / f"{number}.mkv", "h265", "mkv", said)
        assert said_by(tmp_path / f"{number}.mkv") == said


def test_values_that_look_like_the_beginning_of_a_unit_arrive(tmp_path: Path) -> None:
    said = Mastering(MasteringDisplay((Fraction(0),) * 8, Fraction(1, 10_000), Fraction(0)), (0, 1))
    write(tmp_path / "film.mkv", "h265", "mkv", said)
    assert said_by(tmp_path / "film.mkv") == said


def test_another_unit_is_alike_and_another_display_is_not() -> None:
    def packed(*values: Fraction) -> bytes:
        return b"".join(part.to_bytes(4, "little") for value in values for part in value.as_integer_ratio())

    name = "MASTERING_DISPLAY_METADATA"
    one = packed(*DISPLAY.primaries, DISPLAY.dimmest, DISPLAY.brightest)
    rounded = [Fraction(round(value * 65_536), 65_536) for value in DISPLAY.primaries]
    assert said_alike(one, packed(*rounded, Fraction(82, 16_384), Fraction(1000)), name)
    assert not said_alike(one, packed(*DISPLAY.primaries, DISPLAY.dimmest, Fraction(1001)), name)
    assert not said_alike(
        one, packed(Fraction(7, 10), *DISPLAY.primaries[1:], DISPLAY.dimmest, DISPLAY.brightest), name
    )
