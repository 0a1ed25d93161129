"""The plain loop that `overhead` compares with: decode, convert, resize, convert back, encode, copy the sound.

    python -m tests.benchmarks.overhead_plain SETTINGS_JSON SOURCE MASTER

One thread besides those of the codecs and of torch, no start-up counted, nothing planned, proven or kept.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import torch

from tasks.media.picture.colour import to_planes, to_rgb
from tasks.media.picture.pixels import to_frame
from tasks.media.picture.pixels import to_planes as frame_planes
from tasks.media.reading.probe import Probe, probe
from tasks.media.reading.source import Source, open_input, video_stream
from tasks.media.writing.codecs import MUXER, Container, master_colour, master_layout
from tasks.media.writing.encode import add_picture
from tasks.profile import Profile, read_profile
from vsr_model import registry
from vsr_model.contract import Placement

# As many frames at a time as a worker takes.
_CHUNK = 8
_CPU = torch.device("cpu")


def main() -> None:
    """Upscale one file and print the seconds it took, whole and by stage."""
    settings, source, master = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    profile = read_profile(None, settings)
    began = time.perf_counter()
    stages = upscale(source, master, profile)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "stages": {name: round(value, 2) for name, value in stages.items()}}))


@torch.inference_mode()
def upscale(path: str, master: str, profile: Profile) -> dict[str, float]:
    """The loop; returns seconds a stage."""
    source = Source(path, path)
    found = probe(source)
    settings = profile.master.encoding()
    layout = master_layout(settings, found.layout, path)
    colour = master_colour(found.colour, layout)
    height, width = found.height * profile.scale, found.width * profile.scale
    container: Container = Path(master).suffix[1:]  # type: ignore[assignment]
    upscaler = registry.load(profile.model, Placement(device="cpu", dtype=profile.precision))
    stream = upscaler.stream(found.height, found.width, profile.scale, profile.seed, 0)
    spent = {"decode": 0.0, "model": 0.0, "encode": 0.0}
    done = 0
    with open_input(source) as original, av.open(f"file:{master}", "w", format=MUXER[container]) as output:
        video, _ = add_picture(
            output, settings, height, width, layout, colour, found.time_base, found.frame_rate, found.sample_aspect
        )
        copies = {s.index: output.add_stream_from_template(s) for s in original.streams.audio}
        chunks = _chunks(original, found, output, copies)
        while True:
            began = time.perf_counter()
            chunk = next(chunks, None)
            decoded = time.perf_counter()
            spent["decode"] += decoded - began
            if chunk is None:
                break
            planes = [frame_planes(frame, found.layout) for frame in chunk]
            larger_T3HW = stream.push(to_rgb(planes, found.layout, found.colour, _CPU))
            coded = to_planes(larger_T3HW, layout, colour, done)
            done += len(coded)
            resized = time.perf_counter()
            spent["model"] += resized - decoded
            for before, now in zip(chunk, coded, strict=True):
                frame = to_frame(now, layout)
                frame.pts, frame.time_base = before.pts, found.time_base
                output.mux(video.encode(frame))
            spent["encode"] += time.perf_counter() - resized
        began = time.perf_counter()
        output.mux(video.encode(None))
        spent["encode"] += time.perf_counter() - began
    return spent


def _chunks(
    original: av.container.InputContainer,
    found: Probe,
    output: av.container.OutputContainer,
    copies: dict[int, av.AudioStream],
) -> Iterator[list[av.VideoFrame]]:
    """Decoded frames a few at a time; packets of the other streams go to the output on the way."""
    chunk: list[av.VideoFrame] = []
    picture = video_stream(original, found.stream)
    for packet in original.demux([picture, *original.streams.audio]):
        if packet.stream_index == found.stream:
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                chunk.append(frame)
                if len(chunk) == _CHUNK:
                    yield chunk
                    chunk = []
        elif packet.size:
            packet.stream = copies[packet.stream_index]
            output.mux(packet)
    if chunk:
        yield chunk


if __name__ == "__main__":
    main()
