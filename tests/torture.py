"""The torture set: generated sources, each with something that remasters lose. Every one is a few frames long.

`TORTURE` maps the name of a file within a library to what writes it.
"""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from tests import broken
from tests.clips import Clip, make, picture
from tests.remux import Change, remux

Maker = Callable[[Path], Path]
MS = Fraction(1, 1000)
FILM = Clip(frames=10)


def clip(**changes: Any) -> Maker:
    """An ordinary clip with some settings changed."""
    return lambda path: make(path, replace(FILM, **changes))


def changed(change: Change, base: Clip = FILM, ending: str = "") -> Maker:
    """A copy of an ordinary clip, with one thing done otherwise."""

    def write(path: Path) -> Path:
        first = make(path.with_name(f"before {path.stem}{ending or path.suffix}"), base)
        remux(first, path, change)
        first.unlink()
        return path

    return write


def timed(number: int, ending: str) -> Maker:
    """Frames 8n + `number`; B-frames, irregular times and late starts in turn."""
    rate = (Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(60000, 1001))[number % 4]
    ticks = {"mkv": 1000, "ts": 90_000, "mov": 600}.get(ending, 30_000)
    start = (0, 1, 2 * ticks + 7)[number % 3]
    frames = 8 + number
    if number % 2:
        pts = [start + round(n * ticks / rate) + (n * n * 7) % 11 * ticks // 1000 for n in range(frames)]
    else:
        pts = [start + round(n * ticks / rate) for n in range(frames)]
    return clip(frames=frames, rate=rate, time_base=Fraction(1, ticks), pts=pts, b_frames=number % 4)


def _sound(output: Any, codec: str, language: str, disposition: Disposition, title: str) -> Any:
    stream = output.add_stream(codec, rate=48000, layout="stereo")
    stream.metadata.update(language=language, title=title)
    stream.disposition = disposition
    return stream


def _tone(stream: Any, start: int = 0, blocks: int = 8) -> list[Any]:
    packets: list[Any] = []
    wave = (np.sin(np.arange(2048) / 9) * 9000).astype(np.int16)[None]
    resampler = av.AudioResampler(stream.codec_context.format.name, "stereo", 48000, stream.codec_context.frame_size)
    for number in range(blocks):
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start + 1024 * number, Fraction(1, 48000)
        for ready in resampler.resample(frame):
            packets += stream.encode(ready)
    return packets + stream.encode(None)


def sounds(*codecs: str) -> Maker:
    """One track of each, with another language and meaning each; the second is the one to play."""
    meanings = (Disposition(0), Disposition.default, Disposition.comment, Disposition.visual_impaired)
    languages = ("eng", "deu", "jpn", "und")
    made: list[Any] = []

    def add(output: Any) -> None:
        made[:] = [
            _sound(output, codec, languages[n % 4], meanings[n % 4], f"track {n}") for n, codec in enumerate(codecs)
        ]

    change = Change(after=add, late=lambda output: [p for stream in made for p in _tone(stream)])
    return changed(change, replace(FILM, audio=""))


def packet_of(data: bytes, stream: Any, start: int, length: int, time_base: Fraction = MS) -> Any:
    """A packet with these bytes."""
    packet = av.Packet(data)
    packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = stream, time_base, start, start, length
    packet.is_keyframe = True
    return packet


ASS_HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
PGS = bytes([0x16, 0, 11, 0, 64, 0, 48, 0x10, 0, 1, 0x80, 0, 0, 0, 0x80, 0, 0])
DVB = bytes([0x20, 0x00, 0x0F, 0x10, 0, 1, 0, 2, 0, 0, 0xFF])
SUBTITLES = {
    "subrip": (b"<i>one</i>", b"two"), "ass": (b"0,0,Default,,0,0,0,,{\\b1}one", b"1,0,Default,,0,0,0,,two"),
    "webvtt": (b"one", b"two"), "text": (b"one", b"two"), "hdmv_pgs_subtitle": (PGS, PGS + PGS),
    "dvd_subtitle": (b"\x00\x0a\x00\x04\x00\x00\x00\x04\x01\xff", b"\x00\x0a\x00\x04\x00\x00\x00\x04\x02\xff"),
    "dvb_subtitle": (DVB, DVB), "mov_text": (b"\0\3one", b"\0\5f\xc3\xbcnf"),
}  # fmt: skip


def _track(output: Any, kind: str) -> Any:
    """A subtitle track, with the header that its kind needs."""
    if kind == "ass":
        stream = output.add_stream("ass")
        stream.codec_context.subtitle_header = ASS_HEADER
    elif kind == "dvd_subtitle":
        stream = output.add_stream("dvdsub")
        stream.codec_context.extradata = b"size: 64x48\npalette: " + b", ".join([b"828282"] * 16) + b"\n"
        stream.codec_context.subtitle_header = ASS_HEADER
    else:
        return output.add_mux_stream(kind, time_base=MS)
    stream.time_base = MS
    return stream


def subtitled(*kinds: str) -> Maker:
    """One track of each kind; the first is forced, the second for those who hear badly."""
    tracks: list[Any] = []

    def add(output: Any) -> None:
        tracks[:] = [_track(output, kind) for kind in kinds]
        meanings = (Disposition.forced, Disposition.hearing_impaired, Disposition.default)
        for number, (stream, kind) in enumerate(zip(tracks, kinds, strict=True)):
            stream.metadata.update(language=("eng", "fra", "por")[number % 3], title=f"{kind} {number}")
            stream.disposition = meanings[number % 3]

    def words(output: Any) -> list[Any]:
        made = []
        for stream, kind in zip(tracks, kinds, strict=True):
            made += [packet_of(data, stream, 37 + 170 * n, 133) for n, data in enumerate(SUBTITLES[kind])]
        return made

    return changed(Change(after=add, late=words))


def jpeg() -> bytes:
    """A small picture of its own."""
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 32, 32, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture(3, 32, 32), format="rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


def with_cover(path: Path) -> Path:
    """Cover art as the container has it: a still picture stream in MP4, an attachment in Matroska."""
    if path.suffix == ".mkv":
        change = Change(after=lambda output: output.add_attachment("cover.jpg", "image/jpeg", jpeg()))
        return changed(change)(path)
    made: list[Any] = []

    def add(output: Any) -> None:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        stream.disposition = Disposition.attached_pic
        made[:] = [stream]

    return changed(Change(after=add, late=lambda output: [packet_of(jpeg(), made[0], 0, 0, Fraction(1, 90_000))]))(path)


def attached(path: Path) -> Path:
    """Two fonts and a text beside them."""

    def add(output: Any) -> None:
        output.add_attachment("one.ttf", "application/x-truetype-font", b"one" * 99)
        output.add_attachment("two.otf", "application/vnd.ms-opentype", b"two" * 77)
        output.add_attachment("notes ü.txt", "text/plain", "größer".encode())

    return changed(Change(after=add))(path)


def chaptered(path: Path) -> Path:
    """Chapters at odd times; in Matroska one of them without a name, which QuickTime cannot have."""
    middle = "" if path.suffix == ".mkv" else "x" * 90
    ends = (0, 41, 250, 417)
    chapters = [
        {"id": n + 1, "start": a, "end": b, "time_base": MS, "metadata": {"title": title} if title else {}}
        for n, (a, b, title) in enumerate(zip(ends, ends[1:], ("Ünder", middle, "3"), strict=False))
    ]
    return changed(Change(after=lambda output: output.set_chapters(chapters)))(path)


def tagged(path: Path) -> Path:
    """Words about the file and its tracks, usual and unusual ones."""

    def add(output: Any) -> None:
        output.metadata.update(
            title="A film", artist="Someone", date="1968", comment="Größe 4:3", genre="Drama", copyright="(c)",
            description="What it is about", show="A series", creation_time="2020-02-02T02:02:02.000000Z",
            reel_name="A001", location="+48.1000+011.6000/",
        )  # fmt: skip
        for stream in output.streams:
            stream.metadata.update(language="deu", title=f"track {stream.index}")

    return changed(Change(after=add))(path)


def late(kind: str, seconds: Fraction) -> Change:
    """Streams of a kind begin so much later."""

    def shift(packet: Any, number: int) -> bool:
        if packet.stream.type == kind:
            ticks = int(seconds / packet.time_base)
            packet.pts += ticks
            packet.dts = packet.dts + ticks if packet.dts is not None else None
        return True

    return Change(packet=shift)


def edited(path: Path) -> Path:
    """An edit list that leaves out the first frames: they are coded before time zero."""
    return clip(frames=14, pts=range(-5, 9), b_frames=2)(path)


def wrapped(path: Path) -> Path:
    """A transport stream whose 33-bit clock starts over half-way."""
    start = (1 << 33) - 18_000
    pts = [start + 3750 * n for n in range(12)]
    return clip(frames=12, time_base=Fraction(1, 90_000), pts=pts, audio="", b_frames=2)(path)


def gapped(path: Path) -> Path:
    """Frames missing in the middle, and one shown for long at the end."""
    pts = [*range(0, 200, 40), *range(1200, 1400, 40), 3000]
    return clip(frames=11, time_base=MS, pts=pts)(path)


def captions(number: int) -> bytes:
    """The A53 caption bytes of a frame, in an H.264 SEI message."""
    pairs = bytes([0xFC, 0x94, 0x2C + number % 16, 0xFC, 0xC1 + number, 0x80 + number])
    data = b"\xb5\x00\x31GA94\x03" + bytes([0xC0 | len(pairs) // 3, 0xFF]) + pairs + b"\xff"
    return bytes([6, 4, len(data)]) + data + b"\x80"


def active_format(number: int) -> bytes:
    """An AFD code (letterboxed 16:9) in an H.264 SEI message, for every frame the same."""
    return bytes([6, 4, 9]) + b"\xb5\x00\x31DTG1\x41\xfa" + b"\x80"


def rewritten(path: Path, base: Clip, alter: Callable[[bytes, int], bytes]) -> Path:
    """A clip whose picture's packets, by their number, have other bytes."""
    first = make(path.with_name(f"before {path.stem}{path.suffix}"), base)
    with av.open(f"file:{first}") as original, av.open(f"file:{path}", "w") as output:
        targets: dict[int, Any] = {s.index: output.add_stream_from_template(s, opaque=True) for s in original.streams}
        for number, packet in enumerate(original.demux()):
            if not packet.size:
                continue
            made = packet
            if packet.stream.type == "video":
                made = av.Packet(alter(bytes(packet), number))
                made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
                made.time_base, made.is_keyframe = packet.time_base, packet.is_keyframe
            made.stream = targets[packet.stream_index]
            output.mux(made)
    first.unlink()
    return path


def scratched(base: Clip, *packets: int) -> Maker:
    """A clip in which packets of the picture have other bytes in their second half, as a failing disk leaves them."""

    def scratch(data: bytes, number: int) -> bytes:
        half = len(data) // 2
        noise = np.random.default_rng(number).bytes(len(data) - half)
        return data[:half] + noise if number in packets else data

    return lambda path: rewritten(path, replace(base, audio=""), scratch)


def interrupted(path: Path) -> Path:
    """A broadcast that was not received for a moment: packets of the stream are not there."""
    clip = replace(FILM, frames=60, width=160, height=120, audio="", codec="mpeg2video", grain=4.0)
    whole = make(path, replace(clip, rate=Fraction(25)))
    data, size = whole.read_bytes(), 188
    first = len(data) // size // 2
    path.write_bytes(data[: first * size] + data[(first + 40) * size :])
    return path


def _noted(note: bytes, packet: bytes) -> bytes:
    return len(note).to_bytes(4, "big") + note + packet


def captioned_with_a_hole(path: Path) -> Path:
    """Closed captions on all frames, and a packet that decodes to nothing."""

    def alter(data: bytes, number: int) -> bytes:
        return b"\xff" * len(data) if number == 25 else _noted(captions(number), data)

    return rewritten(path, replace(FILM, frames=40, b_frames=0, audio=""), alter)


def captioned(path: Path) -> Path:
    """Closed captions within the picture's stream, on all frames but a few."""
    return rewritten(
        path, replace(FILM, b_frames=2), lambda data, n: _noted(captions(n), data) if n % 4 else data
    )  # fmt: skip


def framed(path: Path) -> Path:
    """What part of the picture is meant to be seen (AFD), within the picture's stream."""
    return rewritten(path, replace(FILM, b_frames=2), lambda data, n: _noted(active_format(n), data))


def profiled(path: Path) -> Path:
    """A colour profile in every picture."""
    body = b"iCCPours\0\0" + zlib.compress(bytes(16) + b"RGB " + b"a profile" * 30)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    header = 33  # of a PNG file: its signature and first chunk
    base = replace(FILM, codec="png", pix_fmt="rgb24", audio="", colour=None)
    return rewritten(path, base, lambda data, n: data[:header] + chunk + data[header:])


def spherical(path: Path, *more: tuple[str, str]) -> Path:
    """A film all around, by what cameras write into MP4 (Spherical Video V1)."""
    words = "".join(
        f"<GSpherical:{name}>{said}</GSpherical:{name}>"
        for name, said in (("Spherical", "true"), ("Stitched", "true"), ("StitchingSoftware", "ours"),
                           ("ProjectionType", "equirectangular"), *more)
    )  # fmt: skip
    body = b"uuid" + bytes.fromhex("ffcc8263f8554a938814587a02521fdd") + f"<rdf:SphericalVideo>{words}".encode()
    box = (len(body) + 4).to_bytes(4, "big") + body
    data = bytearray(make(path, replace(FILM, audio="")).read_bytes())
    movie = data.index(b"moov") - 4
    track = data.index(b"trak", movie) - 4
    end = track + int.from_bytes(data[track : track + 4], "big")
    for place in (movie, track):
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + len(box)).to_bytes(4, "big")
    data[end:end] = box
    path.write_bytes(data)
    return path


def posed(path: Path) -> Path:
    """The same, of a camera that was turned and tilted."""
    return spherical(path, ("InitialViewHeadingDegrees", "90"), ("InitialViewPitchDegrees", "-30"))


def mirrored(path: Path) -> Path:
    """Turned and mirrored by the container."""

    def turn(output: Any) -> None:
        output.streams.video[0].set_display_rotation(90, hflip=True)

    return changed(Change(after=turn))(path)


def coded(path: Path) -> Path:
    """With a timecode in the picture's track."""
    return changed(Change(after=lambda o: o.streams.video[0].metadata.update(timecode="01:02:03:04")))(path)


def dolby_vision(profile: int, compatible: int, base: Clip = FILM) -> Maker:
    """A film whose MP4 says that it is Dolby Vision, in the place of the bit rate, which takes as many bytes."""
    box = b"dvvC" + bytes([1, 0, profile << 1, 0x2D, compatible << 4]) + bytes(7)

    def write(path: Path) -> Path:
        data = make(path, replace(base, audio="")).read_bytes()
        place = data.index(b"btrt")
        path.write_bytes(data[:place] + box + data[place + len(box) :])
        return path

    return write


def stereo(path: Path) -> Path:
    """Two eyes side by side, by Matroska's word for it."""
    return changed(Change(after=lambda o: o.streams.video[0].metadata.update(stereo_mode="left_right")))(path)


def companion(path: Path) -> Path:
    """A second picture, shorter and smaller, which nobody asked to remaster."""
    other = make(path.with_name(f"other {path.stem}.mp4"), replace(FILM, frames=4, width=32, height=32, audio=""))
    with av.open(f"file:{other}") as film:
        made: list[Any] = []

        def add(output: Any) -> None:
            made[:] = [output.add_stream_from_template(film.streams.video[0], opaque=True)]
            made[0].disposition = Disposition(0)

        def packets(output: Any) -> list[Any]:
            found = [p for p in film.demux() if p.size]
            for packet in found:
                packet.stream = made[0]
            return found

        changed(Change(after=add, late=packets), replace(FILM, frames=60))(path)
    other.unlink()
    return path


def fields(path: Path) -> Path:
    """Interlaced, top field first, flagged."""
    return broken.interlaced(path, flagged=True, frames=12)


def old(codec: str, pix_fmt: str = "yuv420p", audio: str = "pcm_s16le", **changes: Any) -> Maker:
    """A codec of another time, at a size it takes."""
    settings = {"codec": codec, "pix_fmt": pix_fmt, "audio": audio, "colour": None, "b_frames": 0, **changes}
    return clip(**settings)


def coloured(matrix: int, primaries: int, transfer: int, swing: int, **changes: Any) -> Maker:
    """With these tags."""
    return clip(colour=(matrix, primaries, transfer, swing), **changes)


def converted(*arguments: str, base: Clip = FILM) -> Maker:
    """An ordinary clip, lossless, as FFmpeg's own command makes something else of it."""

    def write(path: Path) -> Path:
        first = make(path.with_name(f"before {path.stem}.mkv"), replace(base, codec="ffv1", colour=None))
        command = [broken.FFMPEG, "-y", "-loglevel", "error", "-i", str(first), *arguments, str(path)]
        subprocess.run(command, check=True, capture_output=True)
        first.unlink()
        return path

    return write


def without_index(path: Path) -> Path:
    """An AVI whose recording was never ended: the index at its end is not there."""
    data = bytearray(old("mpeg4", audio="libmp3lame")(path).read_bytes())
    place = data.rindex(b"idx1")
    data[4:8] = (place - 8).to_bytes(4, "little")
    path.write_bytes(data[:place])
    return path


PALETTE = ("-an", "-vf", "split[a][b];[a]palettegen=reserve_transparent=0[p];[b][p]paletteuse", "-pix_fmt", "pal8")


TIMES = {f"times/8n+{n}.{ending}": timed(n, ending) for ending in ("mp4", "mkv", "mov") for n in range(8)}
TIMES |= {f"times/broadcast/8n+{n}.ts": timed(n, "ts") for n in range(0, 8, 3)}
TIMES |= {
    "times/one frame.mp4": clip(frames=1), "times/two frames.mkv": clip(frames=2), "times/edit list.mp4": edited,
    "times/edit list.mov": edited, "times/late sound.mp4": changed(late("audio", Fraction(1, 2))),
    "times/late sound.mkv": changed(late("audio", Fraction(1, 2))), "times/broadcast/late sound.ts": changed(
        late("audio", Fraction(1, 2)), replace(FILM, audio="mp2")),
    "times/late picture.mp4": changed(late("video", Fraction(1, 2))),
    "times/late picture.mkv": changed(late("video", Fraction(1, 2)), replace(FILM, audio="flac")),
    "times/broadcast/wrap.ts": wrapped, "times/gaps.mp4": gapped, "times/gaps.mkv": gapped,
    "times/open groups.mkv": clip(frames=30, gop=8, b_frames=3, options=(("x264-params", "open-gop=1"),)),
    "times/open groups.mp4": clip(frames=30, gop=8, b_frames=3, codec="libx265",
                                  options=(("x265-params", "open-gop=1:log-level=error"),)),
}  # fmt: skip
STREAMS: dict[str, Maker] = {
    "streams/sounds.mkv": sounds("flac", "ac3", "opus", "pcm_s24le", "libmp3lame"),
    "streams/sounds.mp4": sounds("aac", "ac3", "opus", "alac", "flac"),
    "streams/sounds.mov": sounds("pcm_s24le", "alac", "aac"),
    "streams/broadcast/sounds.ts": sounds("mp2", "ac3", "aac"),
    "streams/subtitles.mkv": subtitled("subrip", "ass", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"),
    "streams/subtitles.mp4": subtitled("mov_text", "mov_text", "dvd_subtitle"),
    "streams/subtitles.mov": subtitled("mov_text", "mov_text"),
    "streams/broadcast/subtitles.ts": subtitled("dvb_subtitle"),
    "streams/cover.mp4": with_cover,
    "streams/cover.mkv": with_cover,
    "streams/fonts.mkv": attached,
    "streams/chapters.mp4": chaptered,
    "streams/chapters.mkv": chaptered,
    "streams/chapters.mov": chaptered,
    "streams/tags.mp4": tagged,
    "streams/tags.mkv": tagged,
    "streams/tags.mov": tagged,
    "streams/captions.mp4": captioned,
    "streams/captions.mov": captioned,
    "streams/captions.mkv": captioned,
    "streams/timecode.mov": coded,
    "streams/timecode.mp4": coded,
    "streams/stereo.mkv": stereo,
    "streams/spherical.mp4": spherical,
    "streams/posed.mp4": posed,
    "streams/companion.mkv": companion,
    "streams/companion.mp4": companion,
}
PICTURES: dict[str, Maker] = {
    "pictures/rotated 90.mp4": clip(rotation=90),
    "pictures/rotated 180.mkv": clip(rotation=180),
    "pictures/rotated 270.mov": clip(rotation=270),
    "pictures/mirrored.mp4": mirrored,
    "pictures/anamorphic.mp4": clip(sample_aspect=Fraction(16, 15)),
    "pictures/anamorphic.mkv": clip(sample_aspect=Fraction(399, 400)),
    "pictures/anamorphic.mov": clip(sample_aspect=Fraction(40, 33), colour=(6, 6, 6, 1)),
    # Said by the container alone.
    "pictures/anamorphic vp8.webm": converted("-an", "-c:v", "libvpx", "-vf", "setsar=64/45"),
    "pictures/anamorphic vp9.webm": converted("-an", "-c:v", "libvpx-vp9", "-vf", "setsar=3/2"),
    "pictures/anamorphic av1.mp4": clip(
        codec="libsvtav1", width=128, height=96, b_frames=0, sample_aspect=Fraction(16, 15)
    ),
    "pictures/anamorphic prores.mov": clip(
        codec="prores_ks", pix_fmt="yuv422p10le", audio="", sample_aspect=Fraction(16, 15)
    ),
    "pictures/422.mov": clip(pix_fmt="yuv422p"),
    "pictures/444.mkv": clip(pix_fmt="yuv444p"),
    "pictures/gray.mkv": clip(pix_fmt="gray"),
    "pictures/422 10 bit.mp4": clip(pix_fmt="yuv422p10le"),
    "pictures/12 bit.mkv": clip(codec="libx265", pix_fmt="yuv420p12le"),
    "pictures/rgb.mkv": clip(codec="libx264rgb", pix_fmt="rgb24", colour=None),
    "pictures/full range.mp4": coloured(1, 1, 1, 2),
    "pictures/pal.mp4": coloured(5, 5, 6, 1),
    "pictures/ntsc.mkv": coloured(6, 6, 6, 1),
    "pictures/2020.mp4": coloured(9, 9, 14, 1, pix_fmt="yuv420p10le"),
    "pictures/untagged.mov": clip(colour=None),
    "pictures/fields.mp4": fields,
}
OLD: dict[str, Maker] = {
    "old/mpeg1.mpg": old("mpeg1video", audio="mp2", rate=Fraction(25), b_frames=2),
    "old/mpeg2.vob": old("mpeg2video", audio="ac3", rate=Fraction(25), b_frames=2),
    "old/msmpeg4v3.avi": old("msmpeg4", audio="libmp3lame"), "old/msmpeg4v2.avi": old("msmpeg4v2"),
    "old/mpeg4 b-frames.avi": old("mpeg4", b_frames=2), "old/wmv2.wmv": old("wmv2", audio="libmp3lame"),
    "old/wmv1.asf": old("wmv1", audio="libmp3lame"), "old/mjpeg.avi": old("mjpeg", "yuvj422p"),
    "old/cinepak.avi": old("cinepak", "rgb24"), "old/h263.3gp": old("h263", width=176, height=144, audio="aac"),
    "old/flv.flv": old("flv", audio=""), "old/huffyuv.avi": old("huffyuv", "yuv422p"),
    "old/dv.avi": old("dvvideo", width=720, height=576, rate=Fraction(25), audio="", frames=3),
    "old/vp8.webm": old("libvpx", audio="opus"), "old/vp9.webm": old("libvpx-vp9", "yuv444p", audio="opus"),
    "old/animation.mov": old("qtrle", "rgb24"), "old/prores.mov": old("prores_ks", "yuv422p10le"),
    "old/dnxhd.mxf": old("dnxhd", "yuv422p", width=1280, height=720, rate=Fraction(25), frames=2, audio="",
                         options=(("b", "90M"),)),
    "old/png.mov": old("png", "rgb24"), "old/utvideo.avi": old("utvideo", "yuv422p"),
    "old/v210.mov": old("v210", "yuv422p10le"), "old/snow.nut": old("snow", audio="flac"),
    "old/theora.ogv": converted("-c:v", "libtheora", "-c:a", "libvorbis"), "old/no index.avi": without_index,
    "old/paletted.avi": converted(*PALETTE, "-c:v", "rawvideo"), "old/video1.avi": converted("-an", "-c:v", "msvideo1"),
    "old/paletted.mov": converted(*PALETTE, "-c:v", "png"),
}  # fmt: skip
TORTURE: dict[str, Maker] = {**TIMES, **STREAMS, **PICTURES, **OLD}


def write(root: Path, names: list[str]) -> Path:
    """A library of those."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        TORTURE[name](root / name)
    return root
