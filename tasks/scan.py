"""Stage 1: list a library and find out what each of its files is. A bad file becomes a refused title, never a crash."""

from __future__ import annotations

import fnmatch
import logging
import os
import posixpath
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from tasks.errors import RemasterError, UsageError
from tasks.media.picture.hdr import is_hdr
from tasks.media.reading.hdr10_plus import first_message
from tasks.media.reading.probe import Probe, probe
from tasks.media.reading.source import Source
from tasks.media.writing.bitstream import hdr10_plus_dropped, unsaid
from tasks.media.writing.codecs import containers_for, require_place_for_alpha
from tasks.media.writing.master import choose_container
from tasks.profile import Profile
from tasks.records import Title
from tasks.sequences import SHORTEST, as_film, is_title
from tasks.sources import open_source
from tasks.store import filesystem, is_remote, join, last_change, stat
from tasks.store.sequence import IMAGE_SUFFIXES, pattern_of, runs_in, with_fps

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avc", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265",
    ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".nut", ".obu", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on
_KNOWN = VIDEO_SUFFIXES | IMAGE_SUFFIXES
_PROBERS = 8
_LOG = logging.getLogger("remaster.scan")


def nothing_known(name: str, uri: str) -> Title | None:
    """Every file is to be opened."""
    return None


def scan(
    library: str,
    output: str,
    profile: Profile,
    settle: float = 0.0,
    known: Callable[[str, str], Title | None] = nothing_known,
) -> list[Title]:
    """Every title of a library, in order of name.

    Args:
        library: normalised URI of a file, folder or prefix.
        output: normalised URI under which the masters will be.
        profile: decides what the masters' containers can be.
        settle: seconds for which a file must not have changed; those that have are left, and not opened.
        known: the title that a name and URI are, where it is known without opening the file.

    Raises:
        UsageError: the library does not exist or holds no video, or the output lies inside it.
        StoreError: the library's store does not answer.
    """
    found = sorted(list_library(library, profile.sequence.rate()))
    if not found:
        raise UsageError(
            f"{library}: holds no video file. Known endings: {' '.join(sorted(VIDEO_SUFFIXES))}; and runs of numbered"
            " DPX or EXR files, with `--fps` also of PNG, TIFF or JPEG files."
        )
    require_outside(output, library, "output")

    def look(entry: tuple[str, str]) -> Title:
        name, uri = entry
        return _left(name, uri, settle) or known(name, uri) or examine(name, uri, profile)

    with ThreadPoolExecutor(_PROBERS) as pool:
        titles = list(pool.map(look, found))
    return _refuse_collisions(titles, output, profile)


def unsettled_seconds(uri: str, settle: float) -> float | None:
    """Seconds since a file changed, if they are fewer than `settle`; None if it lies still, or cannot be looked at.

    By the time at which the storage itself saw a change. An object of a bucket appears whole, but what uploads it may
    still be about to replace it, as gateways do that write a growing file again and again.
    """
    if settle <= 0:
        return None
    try:
        age = time.time() - last_change(uri)
    except (OSError, RemasterError):
        return None  # whoever opens it will say so
    return age if age < settle else None


def require_outside(place: str, library: str, what: str) -> None:
    """Refuse a place for our own files that a later scan of the library would find them in.

    Raises:
        UsageError: it is such a place; `what` says whose.
    """
    inner, outer = _real(place), _real(library)
    if not is_remote(library) and Path(library).is_file():
        if what == "store" and inner == posixpath.dirname(outer):
            raise UsageError(
                f"store {place} is the folder of {library}: a run of that folder would take what is written there for"
                " sources. Choose another."
            )
        return
    if inner != outer and not inner.startswith(f"{outer.rstrip('/')}/"):
        return
    if not any(part.startswith(".") for part in inner[len(outer) :].split("/")):
        raise UsageError(
            f"{what} {place} lies inside the library {library}: the next run would take what is written there for"
            " sources. Choose a folder beside it."
        )


def matching(titles: list[Title], glob: str) -> list[Title]:
    """The title that is called so, or those whose names match it as a shell pattern; all of them for an empty one."""
    exact = [title for title in titles if title.name == glob]
    return exact or [title for title in titles if is_meant(title.name, glob)]


def is_meant(name: str, glob: str) -> bool:
    """True if a title's name matches a shell pattern, or is it to the letter; always for an empty one."""
    return not glob or name == glob or fnmatch.fnmatchcase(name, glob)


def list_library(library: str, rate: Fraction | None = None) -> Iterator[tuple[str, str]]:
    """Name and URI of every file with a video's ending, and of runs of numbered images.

    Hidden files and folders are passed over. With a `rate` every run is a title, without one those of film are.
    """
    if pattern_of(library) or (is_remote(library) and _is_object(library)):
        yield posixpath.basename(library), library
    elif is_remote(library):
        yield from _titles(library, _list_remote(library), rate)
    elif Path(library).is_file():
        yield posixpath.basename(library), library
    elif Path(library).is_dir():
        yield from _titles(library, _list_folder(Path(library), "", frozenset()), rate)
    else:
        raise UsageError(f"{library}: no such file or folder. Check the path (quote names with spaces).")


def _titles(library: str, files: Iterator[str], rate: Fraction | None) -> Iterator[tuple[str, str]]:
    images = []
    for name in files:
        if _suffix(name) in VIDEO_SUFFIXES:
            yield name, f"{library.rstrip('/')}/{name}"
        else:
            images.append(name)
    for run in runs_in(images, SHORTEST):
        if is_title(run, rate):
            yield str(run), f"{library.rstrip('/')}/{run}"


def _left(name: str, uri: str, settle: float) -> Title | None:
    age = unsettled_seconds(uri, settle)
    if age is None or _readable(name) != name:
        return None
    reason = (
        f"{name}: changed {int(max(age, 0))} s ago, and is left for a later run until it was still for {settle:g} s."
    )
    return Title(name=name, uri=uri, size=0, stamp="", left=reason)


def examine(name: str, uri: str, profile: Profile) -> Title:
    """One title: probed, or refused with the reason."""
    readable = _readable(name)
    title = Title(name=readable, uri=uri, size=0, stamp="")
    if readable != name:
        return replace(title, uri=readable, refused=f"{readable}: its name is not valid UTF-8; rename the file.")
    link = Path(uri)
    if not is_remote(uri) and link.is_symlink() and not link.exists():
        where = link.readlink()
        return replace(title, refused=f"{name}: is a symbolic link that leads nowhere ({where}). Mend or remove it.")
    try:
        status = stat(uri)
        title = replace(title, size=status.size, stamp=status.stamp)
        if status.size == 0:
            return replace(title, refused=f"{name}: is empty (0 bytes). Fetch it again, or remove it from the library.")
        limits = profile.limits.limits()
        limits.require(name, bytes=status.size)
        if pattern_of(uri):
            uri, said = as_film(uri, name, profile.sequence.rate())
            title = replace(title, uri=uri, remarks=said)
        with open_source(uri, name) as source:
            return _with_probe(title, probe(source, profile.video_stream, limits), source, profile)
    except (FileNotFoundError, PermissionError) as error:
        reason = f"{name}: cannot be read ({error.strerror}). Mend it, or remove it from the library."
        return replace(title, refused=reason)
    except RemasterError as error:
        return replace(title, refused=naming(name, str(error)))
    except Exception as error:  # whatever a file may hold, the other titles go on
        _LOG.exception("%s", name)
        reason = (
            f"{name}: cannot be examined ({type(error).__name__}: {error}). Please report it, with the file's kind."
        )
        return replace(title, refused=reason)


def _readable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def naming(name: str, text: str) -> str:
    """A message that says which title it is about; errors of the storage know only their file."""
    return text if name in text else f"{name}: {text}"


def _with_probe(title: Title, found: Probe, source: Source, profile: Profile) -> Title:
    if found.unsupported:
        return replace(title, probe=found, refused=found.unsupported)
    require_place_for_alpha(profile.master.encoding(), found.layout, title.name)
    container, remarks = choose_container(found, source, profile.master.encoding(), profile.master.container)
    if found.dolby_vision:
        which = f" (profile {found.dolby_profile})" if found.dolby_profile else ""
        why = "it describes the source's samples, not the master's"
        remarks.append(f"Dolby Vision's metadata{which} is dropped: {why}")
    if is_hdr(found.colour) and profile.hdr.mode == "keep":
        remarks += unsaid(found.mastering, profile.master.codec)
        message = first_message(source, found.stream) if found.hdr10_plus else b""
        if found.hdr10_plus and (why := hdr10_plus_dropped(message, profile.master.codec)):
            remarks.append(f"HDR10+'s metadata is dropped: {why}")
    return replace(title, probe=found, container=container, remarks=(*title.remarks, *remarks))


def _list_folder(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    real = str(folder.resolve())
    if real in above:
        return  # a symbolic link that leads back up
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith("."):
            continue
        name = prefix + entry.name
        if _is_folder(entry):
            yield from _list_folder(Path(entry.path), f"{name}/", above | {real})
        elif _suffix(name) in _KNOWN:
            # A dangling link is listed: it becomes a refused title, not a silent gap.
            yield name


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a symbolic link that leads to itself


def _is_object(library: str) -> bool:
    fs, root = filesystem(library)
    return bool(fs.isfile(root))


def _list_remote(library: str) -> Iterator[str]:
    fs, root = filesystem(library)
    for path in fs.find(root):
        name = path[len(root) :].lstrip("/")
        parts = name.split("/")
        hidden = any(part.startswith(".") and part not in {".", ".."} for part in parts)
        if _suffix(name) in _KNOWN and not hidden:
            yield name


def _refuse_collisions(titles: list[Title], output: str, profile: Profile) -> list[Title]:
    """Refuse titles whose master would overwrite a source, climb out of the output, or fall on another's master; leave
    those whose master may fall on that of a title that is left."""
    claims: dict[str, list[str]] = defaultdict(list)
    for title in titles:
        if not (title.refused or title.left):
            claims[_claim(title.master)].append(title.name)
    # Of what is not opened it is not known which container it will get.
    possible = [c for c in containers_for(profile.master.codec) if profile.master.container in ("auto", c)]
    unsettled = {_claim(replace(t, container=c).master): t.name for t in titles if t.left for c in possible}

    def judged(title: Title) -> Title:
        refused = _collision(title, claims, output)
        rival = "" if refused else unsettled.get(_claim(title.master), "")
        if rival:
            reason = (
                f"{title.name}: is left for a later run, as {rival} still changes and may get the same master"
                f" ({title.master})."
            )
            return replace(title, left=reason)
        return replace(title, refused=refused)

    return [title if title.refused or title.left else judged(title) for title in titles]


def _claim(master: str) -> str:
    """What two masters that may share a file have in common: numbers beyond a pattern's digits are not cut off."""
    run = pattern_of(master)
    return str(replace(run, digits=1)) if run else master


def _collision(title: Title, claims: dict[str, list[str]], output: str) -> str:
    rivals = [name for name in claims[_claim(title.master)] if name != title.name]
    if rivals:
        return (
            f"{title.name}: would write the same master ({title.master}) as {', '.join(rivals)}. Rename one of them, or"
            " put it in a folder of its own."
        )
    try:
        place = join(output, title.master)
    except UsageError as error:
        return f"{title.name}: its name cannot be used under the output ({error})"
    folder = _real(posixpath.dirname(place))
    if not f"{folder}/".startswith(f"{_real(output).rstrip('/')}/"):
        return (
            f"{title.name}: its master would not be in the output but in {folder}, where a symbolic link there leads."
            " Remove the link, or name the folder it leads to as the output of a run of its own."
        )
    if _real(place) == _real(with_fps(title.uri, None)):
        return f"{title.name}: its master would overwrite the source {title.uri}. Choose another output folder."
    return ""


def _real(place: str) -> str:
    """The place with symbolic links followed, so that one file has one name."""
    return place if is_remote(place) else os.path.realpath(place)
