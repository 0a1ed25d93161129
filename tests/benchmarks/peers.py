"""What usual ways to enlarge a video keep of it, and what `remaster run` does: the rows of the media contract.

Ten films of the torture set, enlarged twice in each way. What enlarges their pixels makes no difference to any row, so
each way takes the quickest that it has. Ways that are not installed are left out: framelift wants FFmpeg's programs on
the path, and weights that are made here if there are none, of random numbers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import cv2
import torch

from tasks.errors import RemasterError
from tasks.media.contract.contract import compare
from tasks.media.reading.source import Source
from tests.benchmarks.common import REPOSITORY, report, scratch
from tests.broken import FFMPEG
from tests.torture import write

FILMS = [
    "times/8n+1.mp4", "times/8n+7.mp4", "times/late sound.mp4", "times/edit list.mp4", "streams/sounds.mp4",
    "streams/subtitles.mp4", "streams/captions.mp4", "streams/tags.mov", "pictures/mirrored.mp4", "streams/cover.mkv",
]  # fmt: skip
# Such rows are there only if something is amiss; of others there is none where what they are about is not there at all.
_FILE, _EVERY = "a file", "every track"
_TWICE = "scale=2*iw:2*ih"
# Of framelift's smallest network: layers of 3x3 and what bends their output, in turns.
_LAYERS, _FEATURES = 16, 64

Way = Callable[[Path, Path], None]


def plainly(source: Path, target: Path) -> None:
    """FFmpeg with a filter and nothing else."""
    _ffmpeg("-i", source, "-vf", _TWICE, target)


def carefully(source: Path, target: Path) -> None:
    """FFmpeg told to take every stream and every time."""
    _ffmpeg(
        "-i", source, "-map", "0", "-c", "copy", "-c:v:0", "libx264", "-filter:v:0", _TWICE, "-fps_mode:v:0",
        "passthrough", "-map_metadata", "0", target,
    )  # fmt: skip


def by_pictures(source: Path, target: Path) -> None:
    """Every frame as a PNG file, and back at the average rate, with the sound: what scripts for images do."""
    folder = target.with_suffix(".frames")
    folder.mkdir()
    with av.open(str(source)) as film:
        rate = film.streams.video[0].average_rate
    _ffmpeg("-i", source, "-vf", _TWICE, folder / "%06d.png")
    pictures = ("-framerate", rate, "-i", folder / "%06d.png")
    _ffmpeg(*pictures, "-i", source, "-map", "0:v", "-map", "1:a?", "-c:a", "copy", "-pix_fmt", "yuv420p", target)


def by_opencv(source: Path, target: Path) -> None:
    """`VideoCapture` to `VideoWriter`: what tutorials do."""
    film = cv2.VideoCapture(str(source))
    size = (int(film.get(cv2.CAP_PROP_FRAME_WIDTH)) * 2, int(film.get(cv2.CAP_PROP_FRAME_HEIGHT)) * 2)
    made = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), film.get(cv2.CAP_PROP_FPS), size)
    while (read := film.read())[0]:
        made.write(cv2.resize(read[1], size))
    made.release()


def by_framelift(source: Path, target: Path) -> None:
    """framelift (PyPI: framelift-video), which writes MP4."""
    weights = target.parent / "weights"
    if not weights.exists():
        _make_weights(weights)
    made = target.with_suffix(".mp4")
    command = ["framelift", "-i", source, "-o", made, "--model", "realesr-animevideov3", "--scale", "2"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "FRAMELIFT_WEIGHTS": str(weights)})
    made.rename(target)


def by_us(source: Path, target: Path) -> None:
    """`remaster run`."""
    library, output = target.with_suffix(".films"), target.with_suffix(".masters")
    library.mkdir()
    (library / source.name).symlink_to(source)
    settings = ("--scale", "2", "--set", "master.codec=h264", "--set", "master.preset=ultrafast")
    command = [sys.executable, "-m", "flows.cli", "run", library, output, *settings]
    subprocess.run(list(map(str, command)), capture_output=True, check=False, cwd=REPOSITORY)
    (master,) = (path for path in output.iterdir() if path.is_file() and not path.name.endswith(".json"))
    master.rename(target)


WAYS: dict[str, Way] = {
    "remaster": by_us, "ffmpeg -vf": plainly, "ffmpeg -map 0 -c copy": carefully, "frames as PNG": by_pictures,
    "OpenCV": by_opencv, "framelift": by_framelift,
}  # fmt: skip


def main() -> None:
    """Make the films, send each along each way, and print what became of the rows as a table."""
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    with scratch() as folder:
        library = write(folder / "library", FILMS)
        ways = {name: way for name, way in WAYS.items() if name != "framelift" or shutil.which("framelift")}
        for name, way in ways.items():
            for film in FILMS:
                place = folder / name.replace(" ", "_") / film.replace("/", "_")
                place.parent.mkdir(exist_ok=True)
                for row, verdict in _rows(way, library / film, place):
                    found[row][name][verdict] += 1
    for row, verdicts in found.items():
        print(f"| {row} | " + " | ".join(_cell(row, verdicts[name]) for name in ways) + " |")
    losses = {name: sum(each[name]["lost"] for each in found.values()) for name in ways}
    report("peers", {"lost": losses}, ", ".join(f"{name} loses {count}" for name, count in losses.items()))


def _rows(way: Way, source: Path, target: Path) -> list[tuple[str, str]]:
    try:
        way(source, target)
        rows = compare(Source(str(source), source.name), Source(str(target), target.name))
    except (subprocess.CalledProcessError, RemasterError):
        return [(_FILE, "lost")]
    return [(_kind(row.name), row.verdict) for row in rows]


def _kind(name: str) -> str:
    """A row without the number of its stream: `stream 2 (audio aac): times` is about the times of sound."""
    stream = re.match(r"stream \d+ \((\w+)[^)]*\)(?:: (.*))?", name)
    return f"{stream[1]}: {stream[2] or _EVERY}" if stream else name


def _cell(row: str, verdicts: Counter[str]) -> str:
    lost, all_of_them = verdicts["lost"], verdicts.total()
    if not all_of_them:
        return "kept" if row == _FILE or row.endswith(_EVERY) else "-"
    if not lost:
        return "kept" if verdicts["kept"] else "changed"
    return "lost" if lost == all_of_them else f"lost in {lost} of {all_of_them}"


def _ffmpeg(*arguments: object) -> None:
    command = [FFMPEG, "-y", "-loglevel", "error", *arguments]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def _make_weights(folder: Path) -> None:
    sizes = [3, *[_FEATURES] * (_LAYERS + 1), 3 * 4**2]
    state = {}
    for number, (before, after) in enumerate(pairwise(sizes)):
        state[f"body.{2 * number}.weight"] = torch.randn(after, before, 3, 3) * 0.01
        state[f"body.{2 * number}.bias"] = torch.zeros(after)
        if number <= _LAYERS:
            state[f"body.{2 * number + 1}.weight"] = torch.full((after,), 0.25)
    folder.mkdir()
    torch.save({"params": state}, folder / "realesr-animevideov3.pth")


if __name__ == "__main__":
    main()
