"""What a library holds, and what of it is refused before any work: every refusal names its title and the way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from tasks.errors import SourceError, UsageError
from tasks.media.reading.limits import Limits
from tasks.media.reading.probe import Choice, Probe, probe
from tasks.media.reading.source import Source, open_input
from tasks.profile import Profile
from tasks.records import Title
from tasks.scan import matching, require_outside, scan
from tests import broken
from tests.clips import Clip, make, picture
from tests.torture import TORTURE

TINY = Clip(frames=2, audio="")
ALLOWED_NAMES = [
    "with space.mkv",
    " leading and trailing .mkv",
    "-rf.mkv",
    "--help.mkv",
    "~user.mkv",
    "naïve 映画 🎬.mkv",
    "new\nline.mkv",
    "hash#1.mkv",
    "question?versionId=3.mkv",
    "100%25.mkv",
    "a*b[c]{d}.mkv",
    "back\\slash.mkv",
    "quote'\"s.mkv",
    "film..cut.mkv",
    "UPPER.MKV",
]


def titles(library: Path, output: Path | None = None) -> dict[str, Title]:
    found = scan(str(library), str(output or library.parent / "out"), Profile())
    return {title.name: title for title in found}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("whole") / "whole.mp4", Clip(frames=24))


def test_every_video_below_the_folder_is_a_title(library: Path) -> None:
    for name in ("b.mkv", "a.mkv", "season 1/b.mp4", "deep/er/x.mkv", ".hidden.mkv", ".trash/x.mkv"):
        make(library / name, TINY)
    (library / "notes.txt").write_text("no video")
    assert list(titles(library)) == ["a.mkv", "b.mkv", "deep/er/x.mkv", "season 1/b.mp4"]
    assert not any(title.refused for title in titles(library).values())


@pytest.mark.parametrize("name", ALLOWED_NAMES)
def test_any_name_that_a_file_system_takes_is_taken(name: str, library: Path) -> None:
    make(library / "plain.mkv", TINY).rename(library / name)
    (title,) = titles(library).values()
    assert (title.name, title.refused) == (name, "")
    assert title.master.startswith(name[: name.rindex(".")])


def test_a_name_that_is_not_text_is_refused_in_words_that_can_be_printed(library: Path) -> None:
    source = make(library / "plain.mkv", TINY)
    os.rename(os.fsencode(source), os.fsencode(library) + b"/caf\xe9.mkv")
    (title,) = titles(library).values()
    assert "not valid UTF-8; rename the file" in title.refused
    title.refused.encode()


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("empty.mp4", lambda path, _: path.touch(), "is empty (0 bytes)"),
        ("words.mp4", lambda path, _: broken.text(path), "cannot be opened as a video"),
        ("sound.mp4", lambda path, _: broken.audio_only(path), "has no video stream (it holds audio)"),
        ("cut.mp4", lambda path, whole: broken.cut(path, 0.6, whole), "is truncated: the file ends"),
        ("stub.mp4", lambda path, whole: broken.cut(path, 0.01, whole), "cannot be opened as a video"),
        ("gone.mp4", lambda path, _: path.symlink_to("/nowhere/film.mp4"), "leads nowhere (/nowhere/film.mp4)"),
        ("self.mp4", lambda path, _: path.symlink_to(path.name), "leads nowhere (self.mp4)"),
        (
            "ictcp.mkv",
            lambda path, _: make(path, Clip(frames=2, colour=(14, 9, 16, 1))),
            "is HDR in a colour space (ICtCp",
        ),
        (
            "camera.mkv",
            lambda path, _: broken.with_bytes(path, make(path.parent / ".h.mkv", TINY), b"ISO/AVC", b"ISO/RAW"),
            "of a codec that FFmpeg cannot decode",
        ),
        ("alpha.mkv", lambda path, _: make(path, Clip(frames=2, codec="ffv1", pix_fmt="yuva420p")), "alpha"),
    ],
)
def test_a_bad_file_is_refused_and_does_not_stop_the_others(
    name: str, spoil: Callable[[Path, Path], object], words: str, library: Path, whole: Path
) -> None:
    make(library / "good.mkv", TINY)
    spoil(library / name, whole)
    found = titles(library)
    assert found["good.mkv"].refused == ""
    assert found[name].refused.startswith(f"{name}: ")
    assert words in found[name].refused


def test_whatever_goes_wrong_with_one_file_the_others_are_titles(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(library / "good.mkv", TINY)
    make(library / "strange.mkv", TINY)

    def stumbling(source: Source, choice: Choice, limits: Limits) -> Probe:
        if source.label == "strange.mkv":
            raise AttributeError("no such thing")
        return probe(source, choice, limits)

    monkeypatch.setattr("tasks.scan.probe", stumbling)
    found = titles(library)
    assert found["good.mkv"].refused == ""
    assert "strange.mkv: cannot be examined (AttributeError: no such thing)" in found["strange.mkv"].refused


@pytest.mark.parametrize(("choice", "stream"), [("auto", 0), ("largest", 0), ("default", 0), (0, 0), (2, 2)])
def test_one_of_several_pictures_is_chosen(choice: Choice, stream: int, tmp_path: Path) -> None:
    path = TORTURE["streams/companion.mkv"](tmp_path / "film.mkv")
    assert probe(Source(str(path), "film.mkv"), choice).stream == stream


def test_a_picture_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = TORTURE["streams/companion.mkv"](tmp_path / "film.mkv")
    with pytest.raises(SourceError, match=r"film\.mkv: has no video stream 1; choose one of 0, 2"):
        probe(Source(str(path), "film.mkv"), 1)


def test_the_largest_and_the_longest_may_be_two(tmp_path: Path) -> None:
    path = two_pictures(tmp_path / "film.mp4")
    found = {choice: probe(Source(str(path), "film.mp4"), choice).width for choice in ("auto", "largest", "default")}
    assert found == {"auto": 64, "largest": 160, "default": 96}


def test_tags_older_than_unicode_are_read(library: Path) -> None:
    whole = make(library / "cafX.avi", Clip(frames=2, codec="mpeg4", audio=""))
    broken.with_bytes(library / "old.avi", whole, b"cafX", b"caf\xe9")
    whole.unlink()
    (title,) = titles(library).values()
    assert title.refused == ""
    with open_input(Source(str(library / "old.avi"), "old.avi")) as container:
        assert container.metadata["title"] == "café"


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_file_without_permission_is_refused(library: Path) -> None:
    make(library / "secret.mkv", TINY).chmod(0)
    assert "cannot be read (Permission denied)" in titles(library)["secret.mkv"].refused


def test_links_that_lead_back_up_are_walked_once(library: Path) -> None:
    make(library / "season/one.mkv", TINY)
    (library / "season" / "loop").symlink_to(library)
    (library / "again").symlink_to(library / "again")
    assert list(titles(library)) == ["season/one.mkv"]


def test_links_to_files_and_folders_elsewhere_are_titles(library: Path, tmp_path: Path) -> None:
    make(tmp_path / "vault/film.mkv", TINY)
    (library / "film.mkv").symlink_to(tmp_path / "vault/film.mkv")
    (library / "vault").symlink_to(tmp_path / "vault")
    assert list(titles(library)) == ["film.mkv", "vault/film.mkv"]


def test_two_sources_of_one_master_are_both_refused(library: Path) -> None:
    make(library / "film.mkv", TINY)
    make(library / "film.mp4", TINY)
    (library / "film.avi").write_bytes(make(library / "other.mkv", TINY).read_bytes())
    found = titles(library)
    assert found["film.mp4"].refused == ""
    assert "same master (film.mkv) as film.avi" in found["film.mkv"].refused
    assert "same master (film.mkv) as film.mkv" in found["film.avi"].refused


def test_a_master_never_overwrites_its_source(library: Path, tmp_path: Path) -> None:
    source = make(library / "film.mkv", TINY)
    (tmp_path / "another way").symlink_to(library)
    for output in (library, tmp_path / "another way"):
        (title,) = scan(str(source), str(output), Profile())
        assert "would overwrite the source" in title.refused


@pytest.mark.parametrize("place", ["library", "library/masters", "library/deep/er", "link/masters"])
def test_an_output_inside_the_library_is_refused(place: str, library: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(library)
    with pytest.raises(UsageError, match=r"output .* lies inside the library .* Choose a folder beside it"):
        require_outside(str(tmp_path / place), str(library), "output")


@pytest.mark.parametrize("place", ["out", "library2", "library/.remaster", "library/.work/masters"])
def test_places_that_a_scan_passes_over_are_not(place: str, library: Path, tmp_path: Path) -> None:
    require_outside(str(tmp_path / place), str(library), "output")


def test_a_single_film_has_its_store_elsewhere_than_among_its_neighbours(library: Path) -> None:
    film = str(make(library / "film.mkv", TINY))
    require_outside(str(library), film, "output")
    require_outside(str(library / ".remaster"), film, "store")
    with pytest.raises(UsageError, match="is the folder of"):
        require_outside(str(library), film, "store")


def test_buckets_are_told_apart_from_prefixes() -> None:
    require_outside("s3://masters/catalogue", "s3://in/catalogue", "output")
    require_outside("s3://in/catalogue-masters", "s3://in/catalogue", "output")
    with pytest.raises(UsageError, match="lies inside"):
        require_outside("s3://in/catalogue/masters", "s3://in/catalogue", "output")


def test_an_empty_library_says_which_files_would_count(library: Path) -> None:
    (library / "notes.txt").write_text("no video")
    with pytest.raises(UsageError, match=r"holds no video file\. Known endings: .*\.mp4"):
        titles(library)


def test_a_library_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or folder\. Check the path"):
        titles(tmp_path / "nowhere")


def test_titles_are_chosen_by_glob(library: Path) -> None:
    for name in ("season 1/a.mkv", "season 1/b.mkv", "season 2/a.mkv"):
        make(library / name, TINY)
    found = list(titles(library).values())
    assert [title.name for title in matching(found, "season 1/*")] == ["season 1/a.mkv", "season 1/b.mkv"]
    assert matching(found, "") == found
    brackets = [replace(found[0], name=name) for name in ("clip[1].mkv", "clip1.mkv")]
    assert matching(brackets, "clip[1].mkv") == brackets[:1]  # which as a pattern is the other one
    assert matching(brackets, "clip*") == brackets
    assert matching(found, "nothing*") == []


def test_no_title_leaves_the_output(library: Path, tmp_path: Path) -> None:
    """Not by a symbolic link that lies in the output either."""
    make(library / "season 1" / "film.mkv", Clip(frames=1))
    make(library / "season 2" / "film.mkv", Clip(frames=1))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "season 1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "linked out").symlink_to(tmp_path / "out")
    for output in ("out", "linked out"):
        refused = {title.name: title.refused for title in scan(str(library), str(tmp_path / output), Profile())}
        assert f"in {tmp_path / 'elsewhere'}, where a symbolic link" in refused["season 1/film.mkv"]
        assert refused["season 2/film.mkv"] == ""


def two_pictures(path: Path) -> Path:
    """Three in fact: one long, one large, one that is marked as the one to play."""
    with av.open(f"file:{path}", "w") as output:
        streams = []
        for width in (64, 160, 96):
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            stream.codec_context.max_b_frames = 0
            stream.disposition = Disposition.default if width == 96 else Disposition(0)
            streams.append(stream)
        for stream, frames in zip(streams, (100, 3, 3), strict=True):
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(picture(number, stream.width, 48), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(stream.encode(frame.reformat(format="yuv420p")))
            output.mux(stream.encode(None))
    return path
