"""Telecined film and video through `remaster run`: the pictures of both come out, at their times, with their sound."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.media.picture.pixels import Planes, to_planes
from tests.conftest import Remaster
from tests.contract import picture_times
from tests.fielded import LAYOUT, NTSC, film, soft, telecined, video, write

# The same size: only what is done about fields makes a difference.
AS_IT_IS = ("--scale", "1", "--set", "master.codec=ffv1", "--set", "master.bit_depth=8", "--set", "shards.frames=9",
            "--set", "shards.shortest=3")  # fmt: skip
LOSSLESS = {"preset": "veryfast", "qp": "0"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_film_and_video_come_out_as_they_were_before_they_became_fields(remaster: Remaster, tmp_path: Path) -> None:
    library, output = tmp_path / "library", tmp_path / "out"
    library.mkdir()
    originals = film(40)
    write(library / "plain.mp4", originals, rate=Fraction(24000, 1001))
    write(library / "film.mp4", telecined(originals))
    write(library / "games.mp4", video(originals))
    write(library / "bottom first.mp4", video(originals, top_first=False))
    write(library / "mixed.mp4", [*telecined(originals[:20]), *video(originals)])
    milliseconds = [round(n * Fraction(1001, 30)) for n in range(50)]
    write(library / "film.mkv", telecined(originals), time_base=Fraction(1, 1000), pts=milliseconds)
    result = remaster("run", library, output, *AS_IT_IS, "--set", "cadence=fields", timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr

    plain, usual = pictures_of(output / "plain.mp4")
    shown, times = pictures_of(output / "film.mp4")
    assert times == usual == [n * Fraction(1001, 24000) for n in range(40)]
    assert furthest(shown, plain) == 0
    shown, times = pictures_of(output / "film.mkv")
    assert max(abs(time - n * Fraction(1001, 24000)) for n, time in enumerate(times)) <= Fraction(1, 1000)
    assert furthest(shown, plain) == 0
    for name in ("games.mp4", "bottom first.mp4"):
        shown, times = pictures_of(output / name)
        assert times == [n * Fraction(1001, 60000) for n in range(40)]
        assert apart(shown[2:-2], plain[2:-2]) < 3  # every other line of each is made up
    shown, times = pictures_of(output / "mixed.mp4")
    assert len(shown) == 20 + 40
    assert furthest(shown[:20], plain[:20]) <= 1  # dithered alike only where the number is the same
    assert times[20:22] == [25 * Fraction(1001, 30000), Fraction(51, 2) * Fraction(1001, 30000)]
    for name in ("film.mp4", "games.mp4", "bottom first.mp4", "mixed.mp4"):
        assert end_of(output / name) == end_of(library / name)

    (run,) = (output / ".remaster" / "runs").iterdir()
    rows = {row["name"]: row for row in pq.read_table(run / "titles.parquet").to_pylist()}
    assert {name: (row["cadence"], row["treatment"], row["pictures"]) for name, row in rows.items()} == {
        "bottom first.mp4": ("bottom", "fields", 40),
        "film.mkv": ("telecine", "inverse telecine", 40),
        "film.mp4": ("telecine", "inverse telecine", 40),
        "games.mp4": ("top", "fields", 40),
        "mixed.mp4": ("mixed", "fields, inverse telecine", 60),
        "plain.mp4": ("progressive", "pass", 40),
    }
    receipt = json.loads((output / "film.mp4.receipt.json").read_text())
    assert (receipt["source"]["cadence"], receipt["source"]["treatment"]) == ("telecine", "inverse telecine")
    assert "Cadence: telecine; treatment: inverse telecine" in (run / "report.html").read_text()
    verified = remaster("verify", output, timeout=300)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_done_about_fields_follows_from_what_they_are(remaster: Remaster, tmp_path: Path) -> None:
    """Video whose bottom fields come first, film coded as fields (2:2), film that flags show for two and three."""
    library, output = tmp_path / "library", tmp_path / "out"
    library.mkdir()
    originals = film(40)
    moments = video(originals, top_first=False)
    games = write(library / "bottom.mp4", moments, "libx264", options=LOSSLESS | {"x264-params": "bff=1"})
    psf = write(library / "psf.mp4", originals, "libx264", options=LOSSLESS | {"x264-params": "tff=1"})
    flagged = soft(library / "soft.ts", originals)
    result = remaster("run", library, output, *AS_IT_IS, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr

    shown, times = pictures_of(output / "bottom.mp4")
    assert times == picture_times(games) == [n / NTSC for n in range(20)]
    assert apart(shown, originals[::2]) < 3 < apart(shown, originals[1::2])  # of the field that comes first
    for source, name in ((psf, "psf.mp4"), (flagged, "soft.mp4")):
        shown, times = pictures_of(output / name)
        coded, usual = pictures_of(source)
        assert times == usual
        assert len(times) == 40
        assert apart(shown, coded) == 0
    assert {round((later - time) * 2 * NTSC) for time, later in pairwise(times)} == {2, 3}

    (run,) = (output / ".remaster" / "runs").iterdir()
    rows = pq.read_table(run / "titles.parquet").to_pylist()
    assert {row["name"]: (row["cadence"], row["treatment"], row["pictures"]) for row in rows} == {
        "bottom.mp4": ("bottom", "deinterlace", 20),
        "psf.mp4": ("psf", "pass", 40),
        "soft.ts": ("soft telecine", "pass", 40),
    }


def apart(shown: list[Planes], wanted: list[Planes]) -> float:
    """How far luma is off, on average."""
    return float(np.mean([np.abs(a[0].astype(int) - b[0]).mean() for a, b in zip(shown, wanted, strict=True)]))


def pictures_of(path: Path) -> tuple[list[Planes], list[Fraction]]:
    with av.open(f"file:{path}") as held:
        frames = list(held.decode(video=0))
    assert all(frame.pts is not None and frame.time_base is not None for frame in frames)
    return [to_planes(frame, LAYOUT) for frame in frames], [frame.pts * frame.time_base for frame in frames]  # type: ignore[operator]


def furthest(shown: list[Planes], wanted: list[Planes]) -> int:
    pairs = zip(shown, wanted, strict=True)
    return max(int(np.abs(a.astype(int) - b).max()) for one, other in pairs for a, b in zip(one, other, strict=True))


def end_of(path: Path) -> dict[str, Fraction]:
    """When the last packet of picture and sound ends."""
    ends: dict[str, Fraction] = {}
    with av.open(f"file:{path}") as held:
        for packet in held.demux():
            if packet.pts is not None:
                end = (packet.pts + packet.duration) * packet.time_base
                ends[packet.stream.type] = max(ends.get(packet.stream.type, end), end)
    return ends
