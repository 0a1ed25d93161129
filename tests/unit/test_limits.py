"""What is too much is refused when it is scanned, without decoding it; the profile says how much that is."""

from __future__ import annotations

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tasks.errors import UnsupportedSource
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make

SIDE = 12_000


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("films") / "film.mp4", Clip(frames=24, subtitle=True))


def bomb(path: Path) -> Path:
    """A picture of some hundred megabytes in a file of some hundred kilobytes."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("png", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "gray"
        frame = av.VideoFrame(SIDE, SIDE, "gray")
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"limits.pixels": 64 * 48 - 1}, r"3,072 pixels a frame; at most 3,071 .* raise `limits.pixels`"),
        ({"limits.frames": 23}, "24 frames; at most 23"),
        ({"limits.seconds": 0.5}, "1 seconds; at most"),
        ({"limits.streams": 2}, "3 streams; at most 2"),
        ({"limits.bytes": 1000}, "bytes; at most 1,000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_title_that_is_too_much_is_refused_with_the_reason(
    limit: dict[str, float], words: str, film: Path, tmp_path: Path
) -> None:
    (title,) = scan(str(film), str(tmp_path), read_profile(None, limit))
    assert title.refused.startswith("film.mp4: has ")
    assert re.search(words, title.refused), title.refused


def test_what_is_just_within_the_limits_passes(film: Path, tmp_path: Path) -> None:
    limits = {"limits.pixels": 64 * 48, "limits.frames": 24, "limits.streams": 3, "limits.bytes": film.stat().st_size}
    (title,) = scan(str(film), str(tmp_path / "out"), read_profile(None, {**limits, "limits.seconds": 1.1}))
    assert title.refused == ""
    assert len(plan_title(title, read_profile(None, limits), Store(str(tmp_path))).timeline) == 24


def test_a_header_that_tells_of_no_frames_is_not_the_last_word(tmp_path: Path) -> None:
    film = make(tmp_path / "film.ts", Clip(frames=24, audio=""))
    (title,) = scan(str(film), str(tmp_path / "out"), read_profile(None, {}))
    strict = read_profile(None, {"limits.frames": 10})
    with pytest.raises(UnsupportedSource, match=r"film\.ts: has 11 frames; at most 10"):
        plan_title(title, strict, Store(str(tmp_path / "store")))
    plan_title(title, read_profile(None, {}), Store(str(tmp_path / "store")))
    with pytest.raises(UnsupportedSource, match=r"film\.ts: has 24 frames; at most 10"):
        plan_title(title, strict, Store(str(tmp_path / "store")))


def test_picture_bombs_are_refused_without_their_memory(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    for name in ("bomb.avi", "bomb.mov"):
        assert bomb(library / name).stat().st_size < 1 << 20
    code = (
        "import resource, sys\n"
        "from tasks.profile import Profile\n"
        "from tasks.scan import scan\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "titles = scan(*sys.argv[1:], Profile())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        "print(*(title.refused for title in titles), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(library), str(tmp_path / "out")],
                          capture_output=True, text=True, check=True, timeout=120)  # fmt: skip
    grown, *refused = done.stdout.splitlines()
    assert ["limits.pixels" in said for said in refused] == [True, True]
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(grown) * unit < SIDE * SIDE / 2, "half of one picture"
