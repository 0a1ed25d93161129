"""FlashVSR's published files: checked, converted once, and loaded without a second copy in memory.

`import_weights` reads the five files as they are published, refuses what is not them, and writes one safetensors file
for each network into the weights folder or bucket, the manifest last: weights without one are not there. `load_into`
maps such a file and takes its tensors one by one to the device and type that are wanted.

Pickles are read by torch's weights-only reader; nothing in them is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from vsr_model import bucket
from vsr_model.errors import WeightsError
from vsr_model.weights import cache_folder, is_remote, local_file, read, sha256_of, weights_place

MANIFEST = "manifest.json"
_NAMED = 8  # keys of a kind that an error lists
_FORMAT = 1
_UNREADABLE = (ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        role: which network it is of, and the name of the converted file.
        file: its published name.
        size, sha256: of the file where they are known, 0 and "" where not.
        unused: beginnings of keys that are there and not needed.
        strict: False if keys nobody knows are no error (the file has more than its networks need).
        own: True if each version has its own; False for one that versions may share.
    """

    role: str
    file: str
    size: int = 0
    sha256: str = ""
    unused: tuple[str, ...] = ()
    strict: bool = True
    own: bool = False


_V11 = (
    Published("dit", "diffusion_pytorch_model_streaming_dmd.safetensors", 5_676_070_392,
              "bd28180edcf3446c028e32fc6b731a80bf7e4da2ab4caac3186b9499964d37be", ("vace",), own=True),
    Published("projection", "LQ_proj_in.ckpt", 575_694_948,
              "d6d011cdaaba6a52645086caa08fa04124e746f6ca568140a24007591142bfd2", own=True),
    Published("tcdecoder", "TCDecoder.ckpt", 189_018_333,
              "e224bdcf2f52745cbf4d393ff5374c2ba09e90285d5d19062d2bf63b915b6161", strict=False),
    Published("vae", "Wan2.1_VAE.pth", 507_609_880,
              "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981", ("encoder.", "conv1.")),
    Published("prompt", "posi_prompt.pth", 4_195_504,
              "4601107a11e4e11a936a6b79df579e54dbc99872132bf542151f0ffd65b4b1ef"),
)  # fmt: skip
# Nobody has published the older one's sizes and hashes.
_V1 = tuple(replace(part, size=0, sha256="") for part in _V11)
PUBLISHED = {"flashvsr-v1.1": _V11, "flashvsr-v1": _V1}


@dataclass(frozen=True)
class Manifest:
    """What converted weights consist of: for each role the sha256 of its converted file."""

    version: str
    sha256: dict[str, str]
    source_sha256: dict[str, str]

    @property
    def weights_hash(self) -> str:
        """blake2b-256 hex over every file's hash."""
        text = json.dumps(self.sha256, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def place_of(version: str) -> str:
    """Where the converted weights of a version lie: a folder, or a prefix in a bucket."""
    return f"{weights_place()}/{version}"


def missing(version: str) -> str:
    """Why the weights of a version cannot be used here and what to do; empty when they can.

    Raises:
        WeightsError: they lie in a bucket, and it does not say.
    """
    return "" if read(f"{version}/{MANIFEST}") is not None else _how_to_install(version)


def _how_to_install(version: str) -> str:
    return f"put its five files (docs/models.md) into FOLDER, then `remaster weights import {version} FOLDER`"


def read_manifest(version: str) -> Manifest:
    """The manifest of a version that has been imported.

    Raises:
        WeightsError: it has not been, or lies in a bucket that does not say.
    """
    content = read(f"{version}/{MANIFEST}")
    if content is None:
        raise WeightsError(f"{version}: its weights are not installed: {_how_to_install(version)}")
    try:
        return _parse(version, content)
    except _UNREADABLE as error:
        raise WeightsError(f"{version}: its weights are not installed: import them again ({error})") from error


def _parse(version: str, content: bytes) -> Manifest:
    """Raises one of `_UNREADABLE` if it is no manifest of this version."""
    found = json.loads(content)
    if (found["version"], found["format"]) != (version, _FORMAT):
        raise ValueError(f"the folder holds {found['version']} in format {found['format']}")
    hashes = {one.role: str(found["sha256"][one.role]) for one in PUBLISHED[version]}
    # They become parts of paths.
    if not all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes.values()):
        raise ValueError(f"what it names are no hashes: {', '.join(hashes.values())}")
    return Manifest(version, hashes, dict(found["source_sha256"]))


def import_weights(
    version: str, source: Path, shapes: dict[str, dict[str, torch.Size]], published: tuple[Published, ...]
) -> Manifest:
    """Check, convert and install the published files in folder `source`.

    Args:
        version: name of the folder or prefix to install into, a key of `PUBLISHED`.
        source: folder with the files.
        shapes: for each role every key that is wanted and its shape.
        published: what the files are.

    Raises:
        WeightsError: a file is missing, of another size or version, damaged or unsafe, or lacks keys, has others or
            other shapes, or holds numbers that are none; or there is no room or leave to write them.
    """
    remote = is_remote(place_of(version))
    target = cache_folder() / version if remote else Path(place_of(version))
    # Also finds out in time whether the bucket can be reached at all.
    former = _former(version) if remote else None
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _sweep(target)
        scratch.mkdir(parents=True)
        sources = {one.role: _require_published(version, one, source / one.file) for one in published}
        for one in published:
            with _reading(source / one.file):
                tensors = _read(source / one.file)
            kept = _require_keys(source / one.file, one, tensors, shapes[one.role])
            save_file(kept, scratch / f"{one.role}.safetensors")
            del tensors, kept
        converted = {one.role: sha256_of(scratch / f"{one.role}.safetensors") for one in published}
        manifest = Manifest(version, converted, sources)
        text = {"format": _FORMAT, "version": version, "sha256": converted, "source_sha256": sources}
        (scratch / MANIFEST).write_text(json.dumps(text, indent=1))
        if remote:
            _upload(scratch, manifest, former)
        else:
            _swap(scratch, target)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{target}: the weights cannot be written there ({error}). Make room or access") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def _former(version: str) -> Manifest | None:
    """The manifest that an import into a bucket will replace."""
    content = read(f"{version}/{MANIFEST}")
    try:
        return _parse(version, content) if content is not None else None
    except _UNREADABLE:
        return None


def _upload(scratch: Path, manifest: Manifest, former: Manifest | None) -> None:
    """Put a finished folder into the bucket, then remove what only the former manifest named."""
    for role in manifest.sha256:
        bucket.send(scratch / f"{role}.safetensors", f"{weights_place()}/{_object(manifest, role)}")
    bucket.write(f"{place_of(manifest.version)}/{MANIFEST}", (scratch / MANIFEST).read_bytes())
    named = {_object(manifest, role) for role in manifest.sha256}
    for old in {_object(former, role) for role in former.sha256} - named if former else ():
        bucket.remove(f"{weights_place()}/{old}")


def _object(manifest: Manifest, role: str) -> str:
    """A converted file's name in a bucket. Its hash is part of it: an import never touches what the last one made."""
    return f"{manifest.version}/{manifest.sha256[role]}/{role}.safetensors"


def _sweep(target: Path) -> None:
    """Remove what imports left that were killed."""
    for left in target.parent.glob(f".{target.name}.*"):
        try:
            os.kill(int(left.name.rpartition(".")[2]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            pass  # another user's, and alive


def _swap(fresh: Path, target: Path) -> None:
    """Put a finished folder in place; what was there is whole until it is out of the way, and removed last."""
    old = target.with_name(f".{target.name}.old.{os.getpid()}")
    if target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load_into(network: nn.Module, manifest: Manifest, role: str, device: torch.device, dtype: torch.dtype) -> None:
    """Give a network made on the meta device its weights, one tensor at a time, straight to device and type.

    Raises:
        WeightsError: the file is not there, damaged, or not of this network.
    """
    path = _installed(manifest, role)
    tensors = {key: tensor.to(device, dtype) for key, tensor in _tensors(path)}
    with _reading(path):
        network.load_state_dict(tensors, assign=True)
    network.eval().requires_grad_(False)


def load_prompt(manifest: Manifest) -> torch.Tensor:
    """The embedding of the one prompt, [tokens, text width].

    Raises:
        WeightsError: the file is not there, or damaged.
    """
    return dict(_tensors(_installed(manifest, "prompt")))["prompt"]


def _installed(manifest: Manifest, role: str) -> Path:
    """A converted file, on this machine."""
    place = place_of(manifest.version)
    name = _object(manifest, role) if is_remote(place) else f"{manifest.version}/{role}.safetensors"
    path = local_file(name, manifest.sha256[role])
    if path is None:
        raise WeightsError(f"{place}: lacks {role}.safetensors, which its manifest names. Import these weights again")
    return path


def _require_published(version: str, one: Published, path: Path) -> str:
    """The file's sha256, if it is the published one as far as that is known."""
    if not path.is_file():
        raise WeightsError(f"{path}: not there; {version} consists of {', '.join(p.file for p in PUBLISHED[version])}")
    others = {
        other: part for other, parts in PUBLISHED.items() for part in parts
        if one.own and part.role == one.role and other != version
    }  # fmt: skip
    remedy = "Download it again" + "".join(
        f"; if it is the one of {other}: {_ghosts(version, other)}" for other in others
    )
    size = path.stat().st_size
    if one.size and size != one.size:
        raise WeightsError(f"{path}: {size} bytes instead of {one.size}: cut off, or of another version. {remedy}")
    found = sha256_of(path)
    for other, theirs in others.items():
        if found == theirs.sha256:
            raise WeightsError(f"{path}: is the file of {other}; {_ghosts(version, other)}")
    if one.sha256 and found != one.sha256:
        raise WeightsError(f"{path}: its hash is not that of {version}'s file: damaged, or another's. {remedy}")
    return found


def _ghosts(version: str, other: str) -> str:
    """What becomes of a file of `other` among those of `version`, and what to do with it."""
    return (
        f"with the rule and the other files of {version} it shows ghosts of frames to come, so import it as {other},"
        " together with that version's other files"
    )


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a file, mapped and not read; a bare tensor is called "prompt"."""
    if path.suffix == ".safetensors":
        return dict(_tensors(path))
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if isinstance(content, torch.Tensor):
        return {"prompt": content[0] if content.ndim == 3 else content}
    content = content.get("model_state", content) if isinstance(content, dict) else [content]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError("holds more than tensors")
    return {key.removeprefix("model."): value for key, value in content.items()}


def _require_keys(
    path: Path, one: Published, tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Size]
) -> dict[str, torch.Tensor]:
    """The wanted tensors, if they are all there, of the right shape, and numbers."""
    known = {key for key in tensors if not key.startswith(one.unused)} if one.unused else set(tensors)
    faults = {
        "missing": [key for key in wanted if key not in tensors],
        "unexpected": [key for key in sorted(known - set(wanted)) if one.strict],
        "misshapen": [
            f"{key} {tuple(tensors[key].shape)} instead of {tuple(shape)}"
            for key, shape in wanted.items()
            if key in tensors and tensors[key].shape != shape
        ],
    }
    if any(faults.values()):
        texts = [f"{len(keys)} {what}: {', '.join(keys[:_NAMED])}" for what, keys in faults.items() if keys]
        raise WeightsError(f"{path}: not the weights of FlashVSR's {one.role}. {'; '.join(texts)}")
    broken = [key for key in wanted if not bool(tensors[key].isfinite().all())]
    if broken:
        raise WeightsError(
            f"{path}: holds values that are no numbers in {', '.join(broken[:_NAMED])}. Download it again"
        )
    return {key: tensors[key].contiguous() for key in wanted}


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a safetensors file, one at a time; what the taker does with them is not the file's fault."""
    with _reading(path), safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            yield key, file.get_tensor(key)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes a `WeightsError` that names it."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        is_copy = path.is_relative_to(cache_folder())
        remedy = "Delete this copy, and run again" if is_copy else "Download it again, and import it anew"
        raise WeightsError(f"{path}: cannot be read as weights ({error}). {remedy}") from error
