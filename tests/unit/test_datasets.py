"""The material for training that is drawn or taught: it repeats, it is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.built import built_tile
from datasets.drawn import drawn_tile
from datasets.teach import enlarged
from vsr_model.errors import WeightsError
from vsr_model.training.teacher import BLOCKS, Span, read_span


@pytest.mark.parametrize("draw", [drawn_tile, built_tile])
def test_a_drawn_tile_depends_on_its_seed_and_number_alone(draw: object) -> None:
    assert callable(draw)
    tile = draw(3, 5, 96)
    assert tile.shape == (3, 96, 96)
    assert tile.dtype == np.uint8
    assert np.array_equal(tile, draw(3, 5, 96))
    assert not np.array_equal(tile, draw(3, 6, 96))
    assert not np.array_equal(tile, draw(4, 5, 96))


def test_built_tiles_hold_hard_edges() -> None:
    steps = [np.abs(np.diff(built_tile(1, n, 96).astype(int), axis=2)).max() for n in range(8)]
    assert np.median(steps) > 60


def write_ncnn(span: Span, param: Path) -> None:
    """Write a network as the ncnn library keeps it: kernels in half precision, each after its tag."""
    convs = [m for m in span.modules() if isinstance(m, torch.nn.Conv2d)]
    lines = ["7767517", f"{len(convs) + 1} 0", "MemoryData mean 0 1 mean 0=1 1=1 2=3"]
    data = span.get_buffer("mean_3").numpy().tobytes()
    for n, conv in enumerate(convs):
        weight = conv.weight.detach().numpy()
        lines.append(f"Convolution c{n} 1 1 in out 0={weight.shape[0]} 1={weight.shape[2]} 5=1 6={weight.size}")
        halves = weight.astype(np.float16).tobytes()
        data += np.uint32(0x01306B47).tobytes() + halves + bytes(-len(halves) % 4)
        assert conv.bias is not None
        data += conv.bias.detach().numpy().tobytes()
    param.write_text("\n".join(lines) + "\n")
    param.with_suffix(".bin").write_bytes(data)


@pytest.fixture(scope="module", params=[2, 4])
def span(request: pytest.FixtureRequest) -> Span:
    torch.manual_seed(1)
    network = Span(5, request.param, torch.tensor([0.4, 0.4, 0.4])).eval()
    for p in network.parameters():
        p.data = p.data.half().float()
    return network


def test_a_teacher_is_read_from_ncnns_files(span: Span, tmp_path: Path) -> None:
    write_ncnn(span, tmp_path / "span.param")
    read = read_span(tmp_path / "span.param")
    picture = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(read(picture), span(picture))
        assert read(picture).shape == (1, 3, 9 * span.scale, 7 * span.scale)


def test_a_teacher_cut_short_or_of_another_kind_is_refused(span: Span, tmp_path: Path) -> None:
    write_ncnn(span, tmp_path / "span.param")
    whole = (tmp_path / "span.bin").read_bytes()
    for broken in (whole[:-40], whole + bytes(8)):
        (tmp_path / "span.bin").write_bytes(broken)
        with pytest.raises(WeightsError, match=r"span\.param"):
            read_span(tmp_path / "span.param")
    lines = (tmp_path / "span.param").read_text().splitlines()
    (tmp_path / "span.param").write_text("\n".join(lines[:-1]))
    with pytest.raises(WeightsError, match="not a SPAN network"):
        read_span(tmp_path / "span.param")
    assert len(lines) == 3 + 3 * BLOCKS + 4


def test_taught_tiles_cover_the_enlarged_tile_and_turn_with_it(span: Span) -> None:
    """The mean over orientations must not prefer one: a mirrored tile gives the mirrored answer."""
    tile = torch.randint(0, 256, (3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    parts, mirrored = enlarged(span, tile), enlarged(span, tile.flip(2))
    n = span.scale
    assert parts.shape == (n * n, 3, 80, 80)
    flipped = mirrored.reshape(n, n, 3, 80, 80)[:, ::-1, :, :, ::-1].reshape(parts.shape)
    assert np.abs(flipped.astype(int) - parts.astype(int)).max() <= 1  # sums of floats in another order
