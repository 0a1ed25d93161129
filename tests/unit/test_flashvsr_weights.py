"""FlashVSR's published files load unchanged, and what is not them is refused with what is wrong."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows.cli import main
from vsr_model import registry
from vsr_model.contract import Placement
from vsr_model.errors import WeightsError
from vsr_model.flashvsr.models import RULES, SIZES, TEST_SIZES, Sizes, empty_networks, entry, install, load
from vsr_model.flashvsr.wan_encoder import WanEncoder
from vsr_model.flashvsr.weights import PUBLISHED, Manifest, Published, place_of, read_manifest

V11, V1 = "flashvsr-v1.1", "flashvsr-v1"
PARTS = tuple(replace(part, size=0, sha256="") for part in PUBLISHED[V11])
DIT, PROJECTION, TCDECODER, VAE, PROMPT = (part.file for part in PARTS)


@pytest.fixture(autouse=True)
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMASTER_WEIGHTS", str(tmp_path / "installed"))


def publish(folder: Path, sizes: Sizes = TEST_SIZES, seed: int = 1) -> Path:
    """The five files as they are published: names, formats, wrappers and keys nobody needs; random values."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(seed)

    def tensors(role: str) -> dict[str, torch.Tensor]:
        state = empty_networks(sizes, "causal")[role].state_dict()
        return {key: torch.randn(value.shape, generator=generator) * 0.05 for key, value in state.items()}

    save_file(tensors("dit") | {"vace_blocks.0.weight": torch.ones(2)}, folder / DIT)
    torch.save({key: value.bfloat16() for key, value in tensors("projection").items()}, folder / PROJECTION)
    torch.save(tensors("tcdecoder") | {"encoder.0.weight": torch.ones(3)}, folder / TCDECODER)
    other_half = WanEncoder(sizes.vae).state_dict()
    torch.save({"model_state": tensors("vae") | other_half}, folder / VAE)
    prompt = torch.randn((1, sizes.prompt_tokens, sizes.dit.text_width), generator=generator)
    torch.save(prompt.bfloat16(), folder / PROMPT)
    return folder


def install_small(folder: Path, version: str = V11, parts: tuple[Published, ...] = PARTS) -> Manifest:
    return install(version, folder, TEST_SIZES, parts)


def why_missing(mode: str) -> str:
    ask = entry(mode).missing
    assert ask is not None
    return ask()


@pytest.mark.parametrize("mode", [V11, f"{V11}-full", V1])
def test_published_files_become_a_working_network(mode: str, tmp_path: Path) -> None:
    folder = publish(tmp_path / "files")
    version = mode.removesuffix("-full")
    assert why_missing(mode)
    manifest = install_small(folder, version)
    assert not why_missing(mode)
    assert entry(mode).reference().weights_hash == manifest.weights_hash
    upscaler = load(entry(mode).info, Placement(), sizes=TEST_SIZES)
    assert torch.equal(upscaler.networks.dit.head.head.weight, load_file(folder / DIT)["head.head.weight"])
    assert upscaler.networks.projection.rule == RULES[version]
    stream = upscaler.stream(16, 16, 2)
    out_T3HW = torch.cat([stream.push(torch.rand(3, 3, 16, 16)), stream.finish()])
    assert out_T3HW.shape == (3, 3, 32, 32)
    assert out_T3HW.isfinite().all()


def test_half_precision_is_half_the_memory(tmp_path: Path) -> None:
    install_small(publish(tmp_path / "files"))
    upscaler = load(entry(V11).info, Placement(dtype="bfloat16"), sizes=TEST_SIZES)
    assert {p.dtype for p in upscaler.networks.dit.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in upscaler.networks.dit.parameters())


def edit(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / file)
        change(tensors)
        save_file(tensors, folder / file)

    return apply


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / VAE).unlink(), "not there"),
        (lambda folder: os.truncate(folder / DIT, 5000), "cannot be read"),
        (lambda folder: os.truncate(folder / TCDECODER, 5000), "cannot be read"),
        (lambda folder: (folder / TCDECODER).write_bytes((folder / VAE).read_bytes()), "missing: decoder.1.weight"),
        (lambda folder: torch.save(Bomb(), folder / PROJECTION), "cannot be read"),
        (lambda folder: torch.save([1, 2], folder / PROJECTION), "holds more than tensors"),
        (edit(DIT, lambda t: t.pop("head.head.bias")), "1 missing: head.head.bias"),
        (edit(DIT, lambda t: t.update(extra=torch.ones(1))), "1 unexpected: extra"),
        (edit(DIT, lambda t: t.update({"head.head.bias": torch.ones(7)})), r"head.head.bias \(7,\) instead of \(64,\)"),
        (edit(DIT, lambda t: t["head.head.bias"].fill_(torch.nan)), "no numbers in head.head.bias"),
    ],
)
def test_what_is_not_them_is_refused(
    damage: Callable[[Path], object], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever was installed before stays as it was."""
    monkeypatch.chdir(tmp_path)
    folder = publish(tmp_path / "files")
    before = install_small(folder)
    damage(folder)
    with pytest.raises(WeightsError, match=says):
        install_small(folder)
    assert not (tmp_path / "exploded").exists()
    assert read_manifest(V11) == before
    assert [path.name for path in Path(place_of(V11)).parent.iterdir()] == [V11]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(tmp_path / "files")
    before = install_small(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vsr_model.flashvsr.weights.save_file", full)
    with pytest.raises(WeightsError, match="No space left"):
        install_small(folder)
    monkeypatch.undo()
    monkeypatch.setenv("REMASTER_WEIGHTS", str(tmp_path / "installed"))
    assert read_manifest(V11) == before
    left = Path(place_of(V11)).parent / f".{V11}.999999999"  # no process has this number
    left.mkdir()
    install_small(folder)
    assert not left.exists()


def test_a_folder_under_another_versions_name_is_refused(tmp_path: Path) -> None:
    install_small(publish(tmp_path / "files"))
    Path(place_of(V11)).rename(place_of(V1))
    with pytest.raises(WeightsError, match=r"the folder holds flashvsr-v1\.1"):
        read_manifest(V1)


def test_a_device_that_is_full_is_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_small(publish(tmp_path / "files"))

    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(torch.OutOfMemoryError):
        load(entry(V11).info, Placement(), sizes=TEST_SIZES)


def known(folder: Path) -> tuple[Published, ...]:
    """The parts with the sizes and hashes of the files in a folder."""
    return tuple(
        replace(
            part,
            size=(folder / part.file).stat().st_size,
            sha256=hashlib.sha256((folder / part.file).read_bytes()).hexdigest(),
        )
        for part in PARTS
    )


def test_size_and_hash_are_held_against_the_published_ones(tmp_path: Path) -> None:
    folder = publish(tmp_path / "files")
    parts = known(folder)
    install_small(folder, parts=parts)
    content = bytearray((folder / PROJECTION).read_bytes())
    content[-200] ^= 1
    (folder / PROJECTION).write_bytes(content)
    with pytest.raises(WeightsError, match="its hash is not that of"):
        install_small(folder, parts=parts)
    (folder / PROJECTION).write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=f"{len(content) - 1} bytes instead of {len(content)}"):
        install_small(folder, parts=parts)


OWN = [part.file for part in PARTS if part.own]


def test_what_versions_share_makes_no_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of v1 as it is published: its own transformer and projection beside v1.1's decoders and prompt."""
    folder, newer = publish(tmp_path / "v1"), publish(tmp_path / "v1.1", seed=2)
    for file in (TCDECODER, VAE, PROMPT):
        (folder / file).write_bytes((newer / file).read_bytes())
    monkeypatch.setitem(PUBLISHED, V11, known(newer))
    manifest = install(V1, folder, TEST_SIZES)
    theirs = {part.role: part.sha256 for part in PUBLISHED[V11]}
    assert {role for role, sha256 in manifest.source_sha256.items() if sha256 != theirs[role]} == {"dit", "projection"}


@pytest.mark.parametrize("file", OWN)
def test_versions_are_not_mixed(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, newer = publish(tmp_path / "v1"), publish(tmp_path / "v1.1", seed=2)
    (folder / file).write_bytes((newer / file).read_bytes())
    monkeypatch.setitem(PUBLISHED, V11, known(newer))
    with pytest.raises(WeightsError, match=rf"{file}: is the file of flashvsr-v1\.1; .*ghosts.* import it as {V11}"):
        install(V1, folder, TEST_SIZES)


@pytest.mark.parametrize("file", OWN)
@pytest.mark.parametrize("more", [b"", b"more"])
def test_an_older_file_among_newer_ones_may_be_what_it_is(file: str, more: bytes, tmp_path: Path) -> None:
    """Nobody has published v1's hashes, so the message says both: damaged, or of v1, and what that would show."""
    older, newer = publish(tmp_path / "v1"), publish(tmp_path / "v1.1", seed=2)
    parts = known(newer)
    (newer / file).write_bytes((older / file).read_bytes() + more)
    why = "bytes instead of" if more else "its hash is not that of"
    with pytest.raises(WeightsError, match=rf"{file}: .*{why}.* if it is the one of {V1}: .*ghosts.* as {V1},"):
        install_small(newer, parts=parts)


def test_another_file_that_versions_share_is_only_damaged(tmp_path: Path) -> None:
    older, newer = publish(tmp_path / "v1"), publish(tmp_path / "v1.1", seed=2)
    parts = known(newer)
    (newer / TCDECODER).write_bytes((older / TCDECODER).read_bytes())
    with pytest.raises(WeightsError, match=r"damaged, or another's\. Download it again$"):
        install_small(newer, parts=parts)


def test_weights_that_are_not_installed_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match="remaster weights import flashvsr-v1"):
        registry.load(V1, Placement())
    assert main(["run", str(tmp_path / "library"), str(tmp_path / "out"), "--model", V11]) == 2
    assert "remaster weights import flashvsr-v1.1" in capsys.readouterr().err
    assert main(["weights", "import", V11, str(tmp_path)]) == 2
    assert "diffusion_pytorch_model_streaming_dmd.safetensors: not there" in capsys.readouterr().err
    assert main(["weights", "import", "seedvr2", str(tmp_path)]) == 2


@pytest.mark.skipif(not os.environ.get("REMASTER_FULL_SIZE"), reason="writes 7 GB: REMASTER_FULL_SIZE=1")
def test_full_size_files(tmp_path: Path) -> None:
    """Every published key and shape, at its real size."""
    folder = publish(tmp_path / "files", SIZES)
    install(V11, folder, SIZES, PARTS)
    upscaler = load(entry(V11).info, Placement(dtype="bfloat16"))
    assert sum(p.numel() for p in upscaler.networks.dit.parameters()) == 1_418_996_800


def test_published_sizes() -> None:
    """Parameter counts of the published files."""
    count = {
        role: sum(value.numel() for value in network.state_dict().values())
        for role, network in empty_networks(SIZES, "causal").items()
    }
    assert count["dit"] == 1_418_996_800
    assert count["projection"] == 287_845_888
    assert count["tcdecoder"] == 45_338_371
    assert len(empty_networks(SIZES, "causal")["dit"].state_dict()) == 825
    assert len(empty_networks(SIZES, "causal")["tcdecoder"].state_dict()) == 66
