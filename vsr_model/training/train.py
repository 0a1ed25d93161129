"""`python -m vsr_model.training.train DATA OUT`: one piece of training, from scratch or from where the last one ended.

One loop: draw a batch of moving clips, shrink it to a clean source, run the network frame by frame, compare with the
truth, step. An average of the weights (EMA) is what gets validated and shipped. A piece ends after its steps or its
minutes, whichever comes first, and leaves in OUT:

    checkpoint.pt       weights, EMA, optimiser moments, step: resuming from it continues as if nothing had happened
    swift.safetensors   the EMA weights
    curve.csv           step, learning rate, loss and validation PSNR-Y, of all pieces
    curve.png           the same, drawn

Several GPUs of one machine share the work when it is started with `torchrun --nproc-per-node N -m`: each draws clips of
its own, the gradients are averaged.

On CUDA a whole step (both passes and the update) is captured once as a graph for each factor and replayed.

Knows nothing of where the arrays came from. Shape suffixes: B clips, T frames, 3 colours, H rows, W columns.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from vsr_model.swift.network import Shape, Swift, channels_last, resize_flow, warp
from vsr_model.swift.upscaler import read_network
from vsr_model.training.curve import draw_curve
from vsr_model.training.data import Clips, Lesson, Pairs, Shares
from vsr_model.training.structure import unlike
from vsr_model.training.validate import validate


@dataclass(frozen=True)
class Recipe:
    """What decides the outcome of a piece, besides the data.

    Attributes:
        steps: last step of the piece (counted over all pieces).
        minutes: wall-clock bound of the piece.
        clips, frames, crop: batch size, clip length, source rows and columns of a clip.
        lr: learning rate, reached after `warm` steps of a piece, flat until `decay_from`, then falling as a half
            cosine to a fiftieth at `steps`.
        double_every: every so many steps train the factor-2 head, else factor 4; 0 for never.
        motion_weight: weight of the photometric loss of the motion estimate.
        knee: difference from the truth, of 0..1, above which it counts in proportion and below which as its square: a
            large one makes the mean square small, which is what PSNR asks for, a small one is kinder to edges.
        structure_weight: weight of `structure.unlike` beside the distance to the truth; 0 for fidelity alone.
        clip_norm: gradient norm above which gradients are scaled down.
        ema: decay of the weight average.
        film_share: part of a batch taken from film.
        taught_share, built_share: parts of it taken from other kinds of pictures, see `data.Shares`.
        damaged: learn from damaged sources (`data.Pairs`) instead of clean ones.
        seed: base of every random draw.
    """

    steps: int = 20_000
    minutes: float = 9.0
    clips: int = 16
    frames: int = 8
    crop: int = 64
    lr: float = 5e-4
    warm: int = 300
    decay_from: int = 1_000_000_000
    double_every: int = 4
    motion_weight: float = 0.1
    knee: float = 1e-3
    structure_weight: float = 0.0
    clip_norm: float = 0.5
    ema: float = 0.999
    film_share: float = 0.3
    taught_share: float = 0.0
    built_share: float = 0.0
    damaged: int = 0
    seed: int = 1


class Trainer:
    """The network, its average and its optimiser, on one device."""

    def __init__(self, recipe: Recipe, shape: Shape, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.shape, self.device = recipe, shape, device
        self.net = channels_last(Swift(shape).to(device))
        self.average = channels_last(Swift(shape).to(device))
        self.average.load_state_dict(self.net.state_dict())
        self.on_gpu = device.type == "cuda"
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.lr = torch.tensor(0.0, device=device)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=self.lr if self.on_gpu else recipe.lr, betas=(0.9, 0.99), weight_decay=0.0,
            fused=self.on_gpu or None, capturable=self.on_gpu,
        )  # fmt: skip
        self.step_number = 0
        self.piece_start = 0
        self._replays: dict[int, Callable[[Lesson], torch.Tensor]] = {}

    # One step ---------------------------------------------------------------------------------------------------------

    def rate(self) -> float:
        """The learning rate of the step to come."""
        recipe, step = self.recipe, self.step_number
        warm = min(1.0, (step - self.piece_start + 1) / max(1, recipe.warm))
        part = min(1.0, max(0.0, (step - recipe.decay_from) / max(1, recipe.steps - recipe.decay_from)))
        fall = 0.5 * (1.0 + float(torch.cos(torch.tensor(part * torch.pi))))
        return recipe.lr * warm * max(0.02, fall)

    def factor(self) -> int:
        """The enlargement the step to come trains."""
        every = self.recipe.double_every
        return 2 if every and self.step_number % every == every - 1 else 4

    def step(self, lesson: Lesson, factor: int) -> torch.Tensor:
        """Learn from one batch of truth and source; returns [loss, picture part, motion part], still on the device."""
        rate = self.rate()
        if self.on_gpu:
            self.lr.fill_(rate)
            if factor not in self._replays:
                self._replays[factor] = self._capture(lesson, factor)
            losses = self._replays[factor](lesson)
        else:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            losses = self._update(lesson, factor)
        self.step_number += 1
        return losses

    def _update(self, lesson: Lesson, factor: int) -> torch.Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            picture, motion = self.losses(*lesson, factor)
        loss = picture + self.recipe.motion_weight * motion
        loss.backward()  # type: ignore[no-untyped-call]
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.net.parameters()), weight=1.0 - self.recipe.ema
            )
        return torch.stack((loss.detach(), picture.detach(), motion.detach()))

    def _share_gradients(self) -> None:
        """Average the gradients of all processes, which hold the same weights and learn from different clips."""
        if self.world > 1:
            gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat, dist.ReduceOp.SUM)  # gloo knows no mean
            sizes = [gradient.numel() for gradient in gradients]
            parts = torch.tensor_split(flat / self.world, torch.tensor(sizes).cumsum(0)[:-1])
            torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])

    def losses(
        self, truth_BT3HW: torch.Tensor, source_BT3HW: torch.Tensor, factor: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How far the result is from the truth, and how badly the motion explains each source frame by the last one."""
        b, frames, _, height, width = source_BT3HW.shape
        # Only the memory has to go from frame to frame; the motion and the drawing are done for all frames at once.
        now_N3HW, before_N3HW = source_BT3HW[:, 1:].flatten(0, 1), source_BT3HW[:, :-1].flatten(0, 1)
        flow_NFhw, trust_N1hw = self.net.motion(now_N3HW, before_N3HW)
        moved_N3HW = warp(before_N3HW, resize_flow(flow_NFhw, 2, height, width) * 2.0)
        flow_BTFhw, trust_BT1hw = (x.unflatten(0, (b, frames - 1)) for x in (flow_NFhw, trust_N1hw))
        memory_BCHW = self.net.start(source_BT3HW[:, 0]).memory_BCHW
        memories = []
        for t in range(frames):
            by = max(t - 1, 0)  # nothing moves an empty memory
            memory_BCHW = self.net.refine(source_BT3HW[:, t], memory_BCHW, flow_BTFhw[:, by], trust_BT1hw[:, by])
            memories.append(memory_BCHW)
        out_N3HW = self.net.draw(source_BT3HW.transpose(0, 1).flatten(0, 1), torch.cat(memories), factor)
        truth_N3HW = truth_BT3HW.transpose(0, 1).flatten(0, 1)
        knee = self.recipe.knee
        picture = ((out_N3HW - truth_N3HW).square() + knee**2).sqrt().mean() - knee  # Charbonnier
        if self.recipe.structure_weight:
            picture = picture + self.recipe.structure_weight * unlike(out_N3HW, truth_N3HW)
        return picture, (moved_N3HW - now_N3HW).abs().mean()

    def _autocast(self) -> AbstractContextManager[object]:
        # Weight casts are cached within one step only: a captured graph must hold its own.
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.on_gpu else nullcontext()

    def _capture(self, example: Lesson, factor: int) -> Callable[[Lesson], torch.Tensor]:
        """Record one step as a CUDA graph; the three dry runs it needs leave no trace in the weights."""
        kept = self.state()
        kept = torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, kept)
        static = (example[0].clone(), example[1].clone())
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._update(static, factor)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self._update(static, factor)
        self._restore_in_place(kept)

        def replay(lesson: Lesson) -> torch.Tensor:
            torch._foreach_copy_(list(static), list(lesson))
            graph.replay()
            return losses.clone()

        return replay

    # What a checkpoint holds ------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on (batches depend on the step number alone)."""
        return {
            "step": self.step_number,
            "shape": asdict(self.shape),
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "moments": [dict(self.optimiser.state[p]) for p in self.net.parameters()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which may come from another device and from a network of fewer blocks."""
        state = grow(state, self.shape)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for p, moments in zip(self.net.parameters(), state["moments"], strict=True):
            place = {k: self.device if k != "step" or self.on_gpu else torch.device("cpu") for k in moments}
            self.optimiser.state[p] = {k: v.to(place[k], copy=True) for k, v in moments.items()}
        self.step_number = self.piece_start = int(state["step"])

    def _restore_in_place(self, state: dict[str, Any]) -> None:
        """As `restore`, into the very tensors a graph has recorded; moments that did not exist yet become zero."""
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for p, moments in zip(self.net.parameters(), state["moments"], strict=True):
            for key, value in self.optimiser.state[p].items():
                value.copy_(moments[key]) if key in moments else value.zero_()


def grow(state: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """Give a checkpoint the blocks it lacks, at the end of the trunk, where they change nothing until they have learnt.

    Raises:
        ValueError: `shape` differs in more than a larger number of blocks.
    """
    had = Shape(**state["shape"])
    if replace(had, blocks=shape.blocks) != shape or had.blocks > shape.blocks:
        raise ValueError(f"a checkpoint of {had} cannot be continued as {shape}: only blocks can be added")
    network = channels_last(Swift(shape))  # moments lie in memory as their weights do
    added = {
        name: torch.zeros_like(value) if ".second." in name else value
        for name, value in network.state_dict().items()
        if name.startswith("blocks.") and int(name.split(".")[1]) >= had.blocks
    }
    known = iter(state["moments"])
    moments = [
        {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        if name in added
        else next(known)
        for name, p in network.named_parameters()
    ]
    weights = {key: state[key] | added for key in ("net", "average")}
    return state | weights | {"shape": asdict(shape), "moments": moments}


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, tensors and plain data only; or weights (`.safetensors`), to begin anew from them.

    What begins from weights counts its steps from 0, with an average that is the weights and moments that are zero.
    """
    if path.suffix == ".safetensors":
        network = channels_last(read_network(path))
        weights, none = network.state_dict(), [dict[str, Any]() for _ in network.parameters()]
        return {"step": 0, "shape": asdict(network.shape), "net": weights, "average": weights, "moments": none}
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    shape: Shape,
    device: torch.device,
    resume: Path | None,
    log_every: int = 200,
    validate_every: int = 2000,
) -> Trainer:
    """Run one piece and write its results into `out`; returns the trainer as it ended."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, shape, device)
    rows: list[dict[str, float]] = []
    if resume is not None:
        trainer.restore(load_checkpoint(resume))
        rows = read_rows(resume.parent / "curve.csv")
    material: Clips | Pairs
    held_out: Clips | Pairs
    if recipe.damaged:
        material, held_out = Pairs(data, "train", device, recipe.seed), Pairs(data, "validation", device)
    else:
        shares = Shares(recipe.film_share, recipe.taught_share, recipe.built_share)
        material = Clips(data, "train", device, shares, recipe.seed)
        held_out = Clips(data, "validation", device)
    rank = dist.get_rank() if trainer.world > 1 else 0
    running = torch.zeros(3, device=device)
    since, seconds = 0, 0.0
    while trainer.step_number < recipe.steps and seconds < recipe.minutes * 60:
        factor = trainer.factor()
        number = trainer.step_number * trainer.world + rank
        running += trainer.step(material.lesson(number, recipe.clips, recipe.frames, recipe.crop, factor), factor)
        since += 1
        step = trainer.step_number
        if step % log_every == 0 or step == recipe.steps:
            means = torch.cat((running / since, torch.tensor([time.monotonic() - began], device=device)))
            if trainer.world > 1:  # of the time too, so that all end the piece at the same step
                dist.all_reduce(means, dist.ReduceOp.SUM)
            loss, picture, motion, seconds = (means / trainer.world).tolist()
            running.zero_()
            since = 0
            row = {"step": step, "seconds": seconds, "lr": trainer.rate(), "loss": loss, "picture": picture,
                   "motion": motion}  # fmt: skip
            if rank == 0 and (step % validate_every == 0 or step == recipe.steps):
                row |= validate(trainer.average, held_out)
            rows.append(row)
            if rank == 0:
                print(" ".join(f"{k} {v:.6g}" for k, v in row.items()), flush=True)
            if loss != loss:
                raise FloatingPointError(f"the loss is not a number at step {step}")
    if rank == 0:
        last: dict[str, float] = {"step": trainer.step_number, "seconds": time.monotonic() - began}
        rows.append(last | validate(trainer.average, held_out))
        print(" ".join(f"{k} {v:.6g}" for k, v in rows[-1].items()), flush=True)
        torch.save(trainer.state(), out / "checkpoint.pt")
        save_weights(trainer.average, out / "swift.safetensors")
        write_rows(out / "curve.csv", rows)
        draw_curve(out / "curve.png", rows)
    return trainer


def save_weights(network: Swift, path: Path) -> None:
    """Write weights and, as metadata, the sizes that a reader needs to build the network."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, {key: str(value) for key, value in asdict(network.shape).items()})


def read_rows(path: Path) -> list[dict[str, float]]:
    """Read a curve written by an earlier piece; empty when there is none."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Write a curve with one column for every key that any row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Run one piece; every field of `Recipe` and `Shape` is an option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--resume", type=Path, help="checkpoint.pt of the piece before, or weights to begin from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--validate-every", type=int, default=2000)
    groups: list[type] = [Recipe, Shape]
    for group in groups:
        for field in fields(group):
            parser.add_argument("--" + field.name.replace("_", "-"), type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    recipe, shape = (g(**{f.name: getattr(arguments, f.name) for f in fields(g)}) for g in groups)
    torch.backends.cudnn.benchmark = True
    device = torch.device(arguments.device)
    if "WORLD_SIZE" in os.environ:  # started by torchrun
        device = torch.device(device.type, int(os.environ["LOCAL_RANK"]))
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    print(recipe, shape, flush=True)
    train(arguments.data, arguments.out, recipe, shape, device, arguments.resume, 200, arguments.validate_every)


if __name__ == "__main__":
    main()
