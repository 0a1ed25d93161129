"""The loop learns, and stopping it anywhere changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.clips import Order, damaged
from vsr_model.swift.network import Shape, Swift
from vsr_model.swift.upscaler import read_network
from vsr_model.training import motion
from vsr_model.training.blend import blend
from vsr_model.training.data import Clips, Pairs, Shares, material, shrink
from vsr_model.training.structure import unlike
from vsr_model.training.train import Recipe, Trainer, load_checkpoint, read_rows, save_weights, train
from vsr_model.training.validate import psnr_y

SHAPE = Shape(channels=8, blocks=1, flow_channels=8, canvas=2)
RECIPE = Recipe(steps=20, minutes=5, clips=2, frames=3, crop=16, lr=3e-3, warm=2, double_every=4, ema=0.9)
CPU = torch.device("cpu")
REPOSITORY = Path(__file__).resolve().parents[2]
# The module as it is, but for how much it is examined on at the end.
SMALL_EXAM = """
import runpy
from vsr_model.training import data
data.EXAM_CLIPS, data.EXAM_FRAMES, data.EXAM_SIDE = 2, 3, 64
runpy.run_module("vsr_model.training.train", run_name="__main__")
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny convolutions on several threads spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few tiles of smooth noise and a run of panning film."""
    folder = tmp_path_factory.mktemp("data")
    noise = torch.rand((6, 3, 24, 24), generator=torch.Generator().manual_seed(1))
    tiles = torch.nn.functional.interpolate(noise, size=(160, 160), mode="bicubic").clamp(0, 1).mul(255).byte().numpy()
    film = np.stack([np.stack([np.roll(tile, 2 * t, axis=2)[:, :80, :96] for t in range(8)]) for tile in tiles[:2]])
    for split in ("train", "validation"):
        np.save(folder / f"tiles_{split}.npy", tiles)
        np.save(folder / f"film_{split}.npy", film)
    return folder


def learn(trainer: Trainer, data: Path, steps: int) -> list[float]:
    clips = Clips(data, "train", CPU, seed=1)
    losses = []
    for _ in range(steps):
        factor = trainer.factor()
        losses.append(float(trainer.step(clips.lesson(trainer.step_number, 2, 3, 16, factor), factor)[0]))
    return losses


def test_loss_falls(data: Path) -> None:
    """On one batch, so that the fall is the network's and not the draw's."""
    trainer = Trainer(replace(RECIPE, double_every=0), SHAPE, CPU)
    lesson = Clips(data, "train", CPU).lesson(0, 2, 3, 16, 4)
    losses = [float(trainer.step(lesson, 4)[0]) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_piece_can_begin_from_weights(data: Path, tmp_path: Path) -> None:
    """They, and nothing else of what made them; and blocks can be added to them."""
    first = Trainer(RECIPE, SHAPE, CPU)
    learn(first, data, 2)
    save_weights(first.average, tmp_path / "swift.safetensors")
    state = load_checkpoint(tmp_path / "swift.safetensors")
    for shape in (SHAPE, replace(SHAPE, blocks=SHAPE.blocks + 1)):
        second = Trainer(replace(RECIPE, seed=3), shape, CPU)
        second.restore(state)
        assert second.step_number == 0
        for net in (second.net, second.average):
            held = net.state_dict()
            assert all(torch.equal(value, held[key]) for key, value in first.average.state_dict().items())
        assert len(learn(second, data, 2)) == 2


def test_resume_is_exact(data: Path, tmp_path: Path) -> None:
    whole = Trainer(RECIPE, SHAPE, CPU)
    whole_losses = learn(whole, data, 8)
    part = Trainer(RECIPE, SHAPE, CPU)
    losses = learn(part, data, 5)
    torch.save(part.state(), tmp_path / "checkpoint.pt")
    resumed = Trainer(replace(RECIPE, seed=99, warm=0), SHAPE, CPU)
    resumed.restore(load_checkpoint(tmp_path / "checkpoint.pt"))
    losses += learn(resumed, data, 3)
    assert losses == whole_losses
    for net in ("net", "average"):
        for key, value in getattr(whole, net).state_dict().items():
            assert torch.equal(value, getattr(resumed, net).state_dict()[key]), f"{net} {key}"


def test_added_blocks_change_nothing_until_they_learn(data: Path, tmp_path: Path) -> None:
    small = Trainer(RECIPE, SHAPE, CPU)
    learn(small, data, 2)
    torch.save(small.state(), tmp_path / "checkpoint.pt")
    large = Trainer(replace(RECIPE, seed=99), replace(SHAPE, blocks=3), CPU)
    large.restore(load_checkpoint(tmp_path / "checkpoint.pt"))
    frame = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        wanted, found = (net(frame, net.start(frame), 4)[0] for net in (small.net, large.net))
    assert torch.equal(wanted, found)
    before = large.net.state_dict()["blocks.2.second.weight"].clone()
    learn(large, data, 2)
    assert not torch.equal(before, large.net.state_dict()["blocks.2.second.weight"])
    with pytest.raises(ValueError, match="only blocks can be added"):
        Trainer(RECIPE, replace(SHAPE, channels=12), CPU).restore(load_checkpoint(tmp_path / "checkpoint.pt"))


def test_every_kind_has_its_share_and_taught_tiles_are_of_the_factor(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    for factor, value in ((2, 40), (4, 200)):
        for share in range(2):
            np.save(tmp_path / f"data/taught{factor}_train.{share}.npy", np.full((3, 3, 160, 160), value, np.uint8))
    np.save(tmp_path / "data/built_train.npy", np.zeros((3, 3, 160, 160), np.uint8))
    clips = Clips(tmp_path / "data", "train", CPU, Shares(film=0.25, taught=0.375, built=0.125), seed=1)
    for factor, value in ((2, 40), (4, 200)):
        truth_BT3HW, source_BT3HW = clips.lesson(3, 8, 3, 16, factor)
        assert truth_BT3HW.shape == (8, 3, 3, 16 * factor, 16 * factor)
        assert source_BT3HW.shape == (8, 3, 3, 16, 16)
        flat = (truth_BT3HW - value / 255).abs().amax(dim=(1, 2, 3, 4)) < 0.05
        assert flat.tolist() == [False] * 2 + [True] * 3 + [False] * 3
        assert truth_BT3HW[5].amax() < 0.05  # the built one


def test_a_piece_leaves_its_results(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CLIPS": 2, "FRAMES": 3, "SIDE": 64}.items():
        monkeypatch.setattr(f"vsr_model.training.data.EXAM_{name}", value)
    train(data, tmp_path / "one", replace(RECIPE, steps=2), SHAPE, CPU, None, log_every=1)
    train(data, tmp_path / "two", replace(RECIPE, steps=4), SHAPE, CPU, tmp_path / "one/checkpoint.pt", log_every=1)
    steps = [row["step"] for row in read_rows(tmp_path / "two/curve.csv")]
    assert steps == sorted(steps)
    assert {1.0, 2.0, 3.0, 4.0} == set(steps)
    assert (tmp_path / "two/curve.png").read_bytes().startswith(b"\x89PNG")
    assert read_network(tmp_path / "two/swift.safetensors").shape == SHAPE


def test_two_processes_learn_as_one(data: Path, tmp_path: Path) -> None:
    """Started by torchrun they end with one set of weights, and their gradients were really averaged."""
    tiles = tmp_path / "tiles"
    shutil.copytree(data, tiles, ignore=shutil.ignore_patterns("film*"))
    program = tmp_path / "train.py"
    program.write_text(SMALL_EXAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(program), str(tiles), str(tmp_path), "--device", "cpu"]  # fmt: skip
    options = asdict(replace(RECIPE, steps=2, film_share=0.0)) | asdict(SHAPE)
    command += [word for key, value in options.items() for word in ("--" + key.replace("_", "-"), str(value))]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    together = load_checkpoint(tmp_path / "checkpoint.pt")["net"]

    alone = Trainer(replace(RECIPE, film_share=0.0), SHAPE, CPU)
    clips = Clips(data, "train", CPU, Shares(film=0.0), seed=RECIPE.seed)
    lessons = [clips.lesson(n, RECIPE.clips, RECIPE.frames, RECIPE.crop, 4) for n in range(4)]
    for (truth_a, source_a), (truth_b, source_b) in (lessons[:2], lessons[2:]):
        # The mean of two batches' gradients is the gradient of both in one.
        alone.step((torch.cat((truth_a, truth_b)), torch.cat((source_a, source_b))), 4)
    for key, value in alone.net.state_dict().items():
        assert torch.allclose(value, together[key], atol=1e-5), key


def test_batches_depend_on_their_number_alone(data: Path) -> None:
    clips = Clips(data, "train", CPU, Shares(film=0.5), seed=4)
    third = clips.batch(3, 4, 5, 64)
    assert third.shape == (4, 5, 3, 64, 64)
    assert float(third.min()) >= 0.0
    assert float(third.max()) <= 1.0
    assert not torch.equal(third, clips.batch(4, 4, 5, 64))
    assert torch.equal(third, Clips(data, "train", CPU, Shares(film=0.5), seed=4).batch(3, 4, 5, 64))
    assert float((third[:, 1:] - third[:, :-1]).abs().max()) > 0.0  # something moves


@pytest.mark.parametrize("still", [0.0, 1.0])
def test_pictures_can_stand_quite_still(still: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "STILL", still)
    monkeypatch.setattr(motion, "TRIPOD", 0.0)
    back, front = 60.0 + torch.rand((2, 4, 3, 64, 64)) * 100.0  # nothing that would be clipped
    clip_BT3RR = motion.moving_clips(back, front, 5, 24, 2.0, torch.Generator().manual_seed(1))
    level_BT = clip_BT3RR.mean(dim=(2, 3, 4), keepdim=True)  # of the light, which flickers
    change = float((clip_BT3RR / level_BT).diff(dim=1).abs().max())
    assert (change < 0.01) == bool(still), change


def test_damaged_pairs_lie_over_each_other(data: Path, tmp_path: Path) -> None:
    """The truths are drawn again from seeds alone, and every cut, flip and turn is that of the source."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    order = Order(folder, "train", count=6, frames=4, side=64, scale=4, seed=3)
    made = damaged(order)
    assert [n for n, _, _ in damaged(order, 1, 2)] == [1, 3, 5]
    np.savez(folder / "damaged_train.npz", source=np.stack([source for _, source, _ in made]), seed=3, side=64,
             made_from=material(folder, "train"))  # fmt: skip
    pairs = Pairs(folder, "train", CPU)
    reduced_NT3SS = shrink(pairs.truth_NT3HW.float() / 255, 4)
    for n, source_T3SS, _ in made:
        apart_N = (reduced_NT3SS - torch.from_numpy(source_T3SS) / 255).abs().mean(dim=(1, 2, 3, 4))
        assert int(apart_N.argmin()) == n
    for step in range(4):
        for factor in (4, 2):
            truth, source = pairs.lesson(step, 3, 2, 8, factor)
            assert truth.shape == (3, 2, 3, 8 * factor, 8 * factor)
            assert source.shape == (3, 2, 3, 8, 8)
            apart = (shrink(truth, factor) - source).abs().mean()
            assert apart < 0.7 * (shrink(truth.flip(-1), factor) - source).abs().mean()
    assert torch.equal(pairs.lesson(1, 3, 2, 8, 4)[0], pairs.lesson(1, 3, 2, 8, 4)[0])
    np.save(folder / "tiles_train.npy", np.load(folder / "tiles_train.npy")[:5])
    with pytest.raises(ValueError, match="were made from"):
        Pairs(folder, "train", CPU)
    assert pairs.exam(2)[0].shape == (6, 4, 3, 32, 32)


def test_clean_source_is_8_bit() -> None:
    small_BT3HW = shrink(torch.rand(1, 2, 3, 32, 32), 4)
    assert small_BT3HW.shape == (1, 2, 3, 8, 8)
    assert torch.allclose(small_BT3HW * 255, (small_BT3HW * 255).round(), atol=1e-4)


def test_detail_is_unlike_when_it_is_missing_weak_or_elsewhere() -> None:
    picture, other = torch.rand((2, 2, 3, 64, 64), generator=torch.Generator().manual_seed(2))
    assert float(unlike(picture, picture)) == pytest.approx(0.0, abs=1e-5)
    assert float(unlike(picture, 0.7 + 0.0 * other)) > 0.9
    assert float(unlike(0.5 * picture, picture)) == pytest.approx(0.2, abs=0.02)  # 1 - 2 * 0.5 / (1 + 0.5 ** 2)
    assert float(unlike(other, picture)) == pytest.approx(1.0, abs=0.1)
    assert float(unlike(1.0 - picture, picture)) > 1.8


def test_a_blend_lies_between_two_networks() -> None:
    a, b = Swift(SHAPE), Swift(SHAPE)
    for share, end in ((0.0, a), (1.0, b)):
        for key, value in blend(a, b, share).state_dict().items():
            assert torch.allclose(value, end.state_dict()[key])
    quarter = blend(a, b, 0.25).fuse.weight
    assert torch.allclose(quarter, 0.75 * a.fuse.weight + 0.25 * b.fuse.weight, atol=1e-6)
    with pytest.raises(ValueError, match="cannot be blended"):
        blend(a, Swift(replace(SHAPE, blocks=2)), 0.5)


def test_the_weight_of_structure_is_heeded(data: Path) -> None:
    """Taught on one soft batch, the network that is asked for detail comes nearer to its detail."""
    lesson = Clips(data, "train", CPU).lesson(0, 2, 3, 16, 4)
    left = []
    for weight in (0.0, 0.5):
        trainer = Trainer(replace(RECIPE, double_every=0, structure_weight=weight), SHAPE, CPU)
        for _ in range(20):
            trainer.step(lesson, 4)
        frame_B3HW = lesson[1][:, 0]
        with torch.no_grad():
            out_B3HW = trainer.net(frame_B3HW, trainer.net.start(frame_B3HW), 4)[0]
        left.append(float(unlike(out_B3HW, lesson[0][:, 0])))
    assert left[1] < left[0]


def test_psnr_of_one_code_value() -> None:
    a_B3HW = torch.full((1, 3, 4, 4), 100 / 255)
    b_B3HW = torch.full((1, 3, 4, 4), 101 / 255)
    assert float(psnr_y(a_B3HW, b_B3HW)) == pytest.approx(20 * np.log10(255 / (219 / 255)), abs=1e-3)
