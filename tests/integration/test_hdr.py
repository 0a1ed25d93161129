"""HDR end to end: what is graded stays as it is graded, in light and in words; or becomes SDR, if asked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tasks.media.contract.contract import compare
from tasks.media.picture.colour import Colour, to_rgb
from tasks.media.picture.pixels import Layout, to_planes
from tasks.media.reading.mastering import OF_HDR
from tasks.media.reading.side_data import first_side_data
from tasks.media.reading.source import Source
from tests.conftest import Remaster
from tests.hdr import HLG, PQ, make_hdr
from vsr_model.classical import resize
from vsr_model.color import WAVELET_LEVELS, blur
from vsr_model.nits import levels

TITLES = {"pq.mp4": PQ, "hlg.mkv": HLG}
FAST = ("--scale", "2", "--set", "shards.frames=8", "--set", "shards.shortest=3")
LAYOUT = Layout("yuv", 10, 1, 1)
LUMA = torch.tensor([0.2627, 0.6780, 0.0593])


@dataclass(frozen=True)
class Run:
    """A library and how each of its titles ended."""

    library: Path
    outcomes: dict[str, dict[str, Any]]

    def master(self, name: str) -> Path:
        outcome = self.outcomes[name]
        assert outcome["state"] == "done", outcome["reason"]
        return Path(outcome["master"])


def run(remaster: Remaster, library: Path, output: Path, *arguments: str) -> Run:
    result = remaster("run", library, output, *FAST, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    (folder,) = (output / ".remaster" / "runs").iterdir()
    outcomes = [json.loads(file.read_text()) for file in folder.glob("outcomes/*.json")]
    return Run(library, {outcome["title"]: outcome for outcome in outcomes})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    make_hdr(root / "pq.mp4", PQ, frames=20, peak=1000.0, cuts=(11,))
    make_hdr(root / "hlg.mkv", HLG, frames=12, tagged=False)
    return root


@pytest.fixture(scope="module")
def kept(remaster: Remaster, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(remaster, library, tmp_path_factory.mktemp("kept"), "--model", "swift", "--profile", "archive")


@pytest.fixture(scope="module")
def mapped(remaster: Remaster, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    fast = ("--set", "master.preset=ultrafast", "--set", "hdr.curve=log")
    return run(remaster, library, tmp_path_factory.mktemp("mapped"), "--hdr", "tonemap", "--model", "swift", *fast)


def pictures(path: Path, transfer: int) -> torch.Tensor:
    """[T, 3, H, W] of a 10-bit HDR film."""
    with av.open(str(path)) as film:
        planes = [to_planes(frame, LAYOUT) for frame in film.decode(film.streams.video[0])]
    return to_rgb(planes, LAYOUT, Colour(9, 9, transfer, False, "topleft"), torch.device("cpu"))


@pytest.mark.parametrize("name", TITLES)
def test_light_stays_where_it_was_graded(name: str, kept: Run) -> None:
    source_T3HW, made_T3HW = (pictures(path, TITLES[name]) for path in (kept.library / name, kept.master(name)))
    height, width = source_T3HW.shape[-2:]
    assert made_T3HW.shape == (len(source_T3HW), 3, 2 * height, 2 * width)
    plain_T3HW = resize(source_T3HW, 2 * height, 2 * width, "lanczos")
    if TITLES[name] == PQ:
        # Of luma: a step of chroma is two of blue, and at a picture's corner one sample counts for many.
        luma_T1HW = torch.einsum("c,tchw->thw", LUMA, made_T3HW - plain_T3HW).unsqueeze(1)
        assert float(blur(luma_T1HW.expand(-1, 3, -1, -1), WAVELET_LEVELS).abs().max()) < 1 / 1023
    had, has = levels(source_T3HW, TITLES[name]), levels(made_T3HW, TITLES[name])
    assert (has[:, 0] <= 1.02 * had[:, 0]).all()
    assert float((made_T3HW - plain_T3HW).abs().max()) > 10 / 1023, "the network's detail did not arrive"


@pytest.mark.parametrize("name", TITLES)
def test_nothing_that_is_said_of_it_is_lost(name: str, kept: Run) -> None:
    rows = compare(Source(str(kept.library / name), name), Source(str(kept.master(name)), "master"))
    assert [row for row in rows if row.verdict == "lost"] == []
    found = {row.name: row.verdict for row in rows}
    assert [found[f"colour {tag}"] for tag in ("matrix", "primaries", "transfer")] == ["kept"] * 3
    if name == "pq.mp4":
        assert found["content light level"] == "kept"
        assert found["mastering display"] in {"kept", "changed"}


@pytest.mark.parametrize("name", TITLES)
def test_how_bright_it_is_was_measured(name: str, kept: Run) -> None:
    (light,) = [seen for row, ok, seen in kept.outcomes[name]["checks"] if row == "light" and ok]
    assert re.fullmatch(r"MaxCLL \d+ nits and MaxFALL \d+ by measure, source \d+ and \d+", light)


@pytest.mark.parametrize("name", TITLES)
def test_an_sdr_master_is_sdr_in_tags_and_in_looks(name: str, mapped: Run) -> None:
    path = mapped.master(name)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        context = stream.codec_context
        frame = next(film.decode(stream))
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        luma = to_planes(frame, LAYOUT)[0].astype(int)
    assert not OF_HDR & set(first_side_data(Source(str(path), "master"), 0).standing)
    # Lamps are near white and the shade is far from black, as a person sees them.
    assert np.percentile(luma, 99.9) > 800 and 150 < np.median(luma) < 500
    rows = compare(Source(str(mapped.library / name), name), Source(str(path), "master"))
    assert [row for row in rows if row.verdict == "lost"] == []
    notes = {row.note for row in rows if row.name.startswith("colour ") and row.verdict == "changed"}
    assert notes == {"tone-mapped to SDR, in the colours of BT.709"}
