"""Runs of numbered image files: what is a title, how it is read, and how masters are written as such runs."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch

from tasks.errors import SourceError, UnsupportedSource, UsageError
from tasks.media.cadence.read import read_window, window
from tasks.media.picture.colour import Colour, to_codes, to_rgb
from tasks.media.picture.halves import display_of, halves, places, places_of
from tasks.media.picture.pixels import Layout, Planes, to_frame, to_planes
from tasks.media.reading.movie import exact_rate
from tasks.media.reading.probe import probe
from tasks.media.reading.timeline import Timeline, read_timeline
from tasks.media.writing import numbered as writer
from tasks.media.writing.codecs import EncodeSettings, master_colour, master_layout
from tasks.plan import plan_title
from tasks.profile import Profile, read_profile
from tasks.records import Title
from tasks.scan import scan
from tasks.sources import open_source
from tasks.store import Store, fingerprint, last_change, sequence, stat
from tests.numbered import codes, light, make_run, said, write

KINDS = [(".dpx", 8), (".dpx", 10), (".dpx", 12), (".dpx", 16), (".png", 8), (".png", 16), (".tif", 8), (".tif", 16)]
DPX = "plate.%04d.dpx"


def titles(folder: Path, profile: Profile | None = None) -> dict[str, Title]:
    return {title.name: title for title in scan(str(folder), str(folder.parent / "masters"), profile or Profile())}


def with_rate(rate: str) -> Profile:
    return read_profile(None, {"sequence.fps": rate})


@pytest.mark.parametrize(
    ("names", "runs"),
    [
        (["a.0001.dpx", "a.0002.dpx"], ["a.%04d.dpx"]),
        (["a.0001.dpx"], []),
        (["9.png", "10.png", "11.png"], ["%d.png"]),
        (["shot/a_0998.exr", "shot/a_0999.exr", "shot/a_1000.exr"], ["shot/a_%04d.exr"]),
        (["a_9998.tif", "a_9999.tif", "a_10000.tif"], ["a_%04d.tif"]),
        (["a01.png", "a02.png", "a001.png", "a002.png"], ["a%02d.png", "a%03d.png"]),
        (["a.1.mkv", "a.2.mkv"], []),
        (["a1.jpg", "a2.jpg", "b1.jpg", "a1.png"], ["a%d.jpg"]),
        (["100%_1.png", "100%_2.png"], ["100%_%d.png"]),
    ],
)
def test_files_that_are_numbered_alike_are_a_run(names: list[str], runs: list[str]) -> None:
    found = sequence.runs_in(names, 2)
    assert [str(run) for run in found] == runs
    for run in found:
        again = sequence.pattern_of(str(run))
        assert again == run
        assert any(run.number(name) is not None and run.name(run.number(name) or 0) == name for name in names)


@pytest.mark.parametrize(
    ("said_rate", "meant"),
    [
        ("24", Fraction(24)),
        ("23.976", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
        (23.97599983215332, Fraction(24000, 1001)),
    ],
)
def test_a_rate_is_what_is_meant_by_it(said_rate: str, meant: Fraction) -> None:
    assert exact_rate(said_rate) == meant


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "1/0", "inf", "1e9"])
def test_what_is_no_rate_is_refused_in_words(rate: str) -> None:
    with pytest.raises(UsageError, match=r"sequence\.fps"):
        with_rate(rate)


def test_film_is_a_title_by_itself_and_other_images_once_their_rate_is_given(tmp_path: Path) -> None:
    library = tmp_path / "library"
    make_run(library / "shot", DPX, 3, 10)
    make_run(library, "poster%d.png", 2, 8, 1)
    (film,) = titles(library).values()
    assert (film.name, film.refused, film.master) == (f"shot/{DPX}", "", "shot/plate.mp4")
    assert film.probe is not None
    assert (film.probe.frame_rate, film.probe.frames) == (Fraction(24000, 1001), 3)  # as the header says
    found = titles(library, with_rate("25"))
    assert sorted(found) == ["poster%d.png", f"shot/{DPX}"]
    film = found[f"shot/{DPX}"]
    assert film.probe is not None
    assert film.probe.frame_rate == 25
    assert film.remarks == ("is shown at 25 pictures a second as asked; its header says 24000/1001",)


def test_two_masters_that_may_share_a_file_are_both_refused(tmp_path: Path) -> None:
    library = tmp_path / "library"
    make_run(library, "plate.%02d.tif", 2, 8, 1)
    make_run(library, "plate.%03d.jpg", 2, 8, 1)
    make_run(library, "other.%03d.jpg", 2, 8, 1)
    profile = read_profile(None, {"sequence.fps": "24", "master.codec": "png"})
    found = titles(library, profile)
    assert "as plate.%02d.tif" in found["plate.%03d.jpg"].refused
    assert "as plate.%03d.jpg" in found["plate.%02d.tif"].refused
    assert found["other.%03d.jpg"].refused == ""


def test_a_run_whose_rate_nobody_knows_is_refused(tmp_path: Path) -> None:
    for n in range(2):
        write(tmp_path / "library" / f"a.{n}.exr", light(n, 16, 16), framesPerSecond=("int", 0))
    (title,) = titles(tmp_path / "library").values()
    assert "does not say how many pictures a second" in title.refused
    assert "--fps" in title.refused


def test_missing_numbers_are_named(tmp_path: Path) -> None:
    make_run(tmp_path / "library", DPX, 12, 10, height=16, width=16)
    for number in (1003, 1007, 1008, 1009):
        (tmp_path / "library" / (DPX % number)).unlink()
    (title,) = titles(tmp_path / "library").values()
    assert title.refused.startswith(f"{DPX}: 4 of its files are missing between 1001 and 1012: 1003, 1007 to 1009.")


def test_a_file_that_is_only_linked_to_and_gone_is_named(tmp_path: Path) -> None:
    library, vault = tmp_path / "library", tmp_path / "vault"
    make_run(vault, DPX, 4, 10)
    library.mkdir()
    for path in vault.iterdir():
        (library / path.name).symlink_to(path)
    (library / "notes.txt").symlink_to(vault / "notes.txt")
    (title,) = titles(library).values()
    assert title.refused == "" and title.probe is not None and title.probe.frames == 4
    (vault / "plate.1004.dpx").unlink()
    (title,) = titles(library).values()
    assert "plate.1004.dpx is a symbolic link that leads nowhere" in title.refused


def test_a_run_last_changed_when_its_latest_file_did_and_one_look_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_run(tmp_path, DPX, 3, 10)
    latest = max(path.stat().st_ctime for path in tmp_path.iterdir())
    monkeypatch.setattr("tasks.store.local.last_change", None)  # one file at a time
    assert last_change(str(tmp_path / DPX)) == latest


def test_files_of_two_sizes_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "library", DPX, 3, 10)
    write(tmp_path / "library" / (DPX % 1004), codes(3, 32, 32, 10), 10)
    (title,) = titles(tmp_path / "library").values()
    with pytest.raises(UnsupportedSource, match="at frame 3"):
        plan_title(title, Profile(scale=2), Store(str(tmp_path / "store")))


@pytest.mark.parametrize("suffix", [".dpx", ".png", ".tif", ".exr"])
def test_a_torn_file_is_named(suffix: str, tmp_path: Path) -> None:
    name = f"a.%03d{suffix}"
    make_run(tmp_path / "library", name, 9, 16, 1)
    torn = tmp_path / "library" / (name % 5)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    settings = {"sequence.fps": "24", "master.codec": "exr" if suffix == ".exr" else "ffv1"}
    profile = read_profile(None, settings)
    (title,) = titles(tmp_path / "library", profile).values()
    with pytest.raises(SourceError, match=f"{name % 5} is damaged"):
        plan_title(title, profile, Store(str(tmp_path / "store")))


def _planes(uri: str) -> tuple[list[Planes], Timeline, Layout]:
    with open_source(uri, "run") as source:
        found = probe(source)
        timeline = read_timeline(source, found.stream)
        frames = list(read_window(source, found.stream, found.layout, window(timeline, 0, len(timeline))))
    return frames, timeline, found.layout


@pytest.mark.parametrize(("suffix", "depth"), KINDS)
def test_every_sample_of_every_file_is_read(suffix: str, depth: int, tmp_path: Path) -> None:
    made = make_run(tmp_path, f"a.%03d{suffix}", 5, depth, 7)
    frames, timeline, layout = _planes(f"{tmp_path}/a.%03d{suffix}#fps=24000:1001")
    assert layout == Layout("rgb", depth)
    assert timeline.pts.tolist() == [1001 * n for n in range(5)]
    assert len(frames) == 5
    for pixels, planes in zip(made, frames, strict=True):
        assert np.array_equal(np.stack(planes, -1), pixels)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_light_is_read_beyond_black_and_white(kind: type, tmp_path: Path) -> None:
    made = [light(n, 24, 32) for n in range(3)]
    for n, pixels in enumerate(made):
        write(tmp_path / f"a.{n}.exr", pixels.astype(kind))
    frames, _, layout = _planes(f"{tmp_path}/a.%d.exr")
    assert layout == Layout("light", 16)
    for pixels, planes in zip(made, frames, strict=True):
        assert np.array_equal(np.stack([halves(plane) for plane in planes], -1), pixels)  # type: ignore[arg-type]


def windowed(path: Path, number: int, held: tuple[int, int, int, int], shown: tuple[int, int, int, int]) -> np.ndarray:
    """An EXR file of these windows (left, top, width, height), and its pixels."""
    pixels = light(number, held[3], held[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = oiio.ImageSpec(held[2], held[3], 3, "half")
    spec.x, spec.y = held[:2]
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = shown
    spec.attribute("framesPerSecond", oiio.TypeRational, (24, 1))
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec) and output.write_image(pixels) and output.close()
    return pixels


SHOWN = (0, 0, 32, 24)


@pytest.mark.parametrize(
    ("held", "shown", "words"),
    [
        ((-4, -2, 40, 28), SHOWN, "holds 40x28 pixels and shows 32x24"),
        ((0, 0, 33, 24), SHOWN, "holds 33x24 pixels and shows 32x24"),
        ((0, -1, 32, 25), SHOWN, "holds 32x25 pixels and shows 32x24"),
        ((8, 4, 32, 24), (8, 4, 32, 24), r"begins at \(8, 4\), and would be read shifted"),
    ],
)
def test_what_would_be_read_otherwise_than_it_is_shown_is_refused(
    held: tuple[int, int, int, int], shown: tuple[int, int, int, int], words: str, tmp_path: Path
) -> None:
    """At scan where the first file is such, and when planned where another one is."""
    for name, kinds in (("at once", ((held, shown), (SHOWN, SHOWN))), ("later", ((SHOWN, SHOWN), (held, shown)))):
        for number, windows in enumerate(kinds):
            windowed(tmp_path / name / f"a.{number}.exr", number, *windows)
    words += ".*oiiotool IN --croptofull"
    profile = read_profile(None, {"master.codec": "exr", "scale": 2})
    (title,) = titles(tmp_path / "at once", profile).values()
    assert re.search(words, title.refused)
    (title,) = titles(tmp_path / "later", profile).values()
    with pytest.raises(UnsupportedSource, match=words):
        plan_title(title, profile, Store(str(tmp_path / "store")))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("R", "G", "B", "Z"), r"holds other channels than R, G, B and A \(Z\)"),
        (("R", "G", "B", "A", "key.R", "key.G"), r"\(key.G, key.R\)"),
        (("Y",), "grayf16le is not handled"),
        ((), "holds several parts"),
    ],
)
def test_what_is_in_a_file_besides_its_picture_is_not_lost_in_silence(
    names: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    for number in range(2):
        path = tmp_path / "films" / f"a.{number}.exr"
        path.parent.mkdir(exist_ok=True)
        pixels = np.ones((24, 32, len(names) or 3), np.float16)
        specs = [oiio.ImageSpec(32, 24, pixels.shape[2], "half") for _ in range(1 if names else 2)]
        for part, spec in enumerate(specs):
            spec.channelnames = names or ("R", "G", "B")
            spec.attribute("framesPerSecond", oiio.TypeRational, (24, 1))
            spec.attribute("oiio:subimagename", f"part{part}")
        output = oiio.ImageOutput.create(str(path))
        assert output.open(str(path), tuple(specs)) and output.write_image(pixels)
        for spec in specs[1:]:
            assert output.open(str(path), spec, "AppendSubimage") and output.write_image(pixels)
        assert output.close()
    (title,) = titles(tmp_path / "films", read_profile(None, {"master.codec": "exr"})).values()
    assert re.search(words, title.refused)


def test_a_file_of_one_part_that_might_be_several_is_refused(tmp_path: Path) -> None:
    """As FFmpeg makes black of it."""
    for number in range(2):
        file = tmp_path / f"a.{number}.exr"
        windowed(file, number, SHOWN, SHOWN)
        data = bytearray(file.read_bytes())
        data[5] |= 0x10
        file.write_bytes(data)
    (title,) = titles(tmp_path, read_profile(None, {"master.codec": "exr"})).values()
    assert "or is written as if it did" in title.refused


def test_where_a_file_holds_less_than_it_shows_it_is_black(tmp_path: Path) -> None:
    held = [windowed(tmp_path / f"a.{number}.exr", number, (5, 3, 20, 10), SHOWN) for number in range(2)]
    frames, _, _ = _planes(f"{tmp_path}/a.%d.exr")
    for pixels, planes in zip(held, frames, strict=True):
        wanted = np.zeros((24, 32, 3), np.float16)
        wanted[3:13, 5:25] = pixels
        assert np.array_equal(np.stack([halves(plane) for plane in planes], -1), wanted)  # type: ignore[arg-type]


def test_a_range_of_frames_opens_only_its_own_files(tmp_path: Path) -> None:
    made = make_run(tmp_path, DPX, 12, 10)
    uri = f"{tmp_path}/{DPX}"
    _, timeline, layout = _planes(uri)
    for n in (*range(1, 5), *range(8, 12)):  # the first one is asked for its size and format
        path = tmp_path / (DPX % (1001 + n))
        path.write_bytes(bytes(path.stat().st_size))
    with open_source(uri, "run") as source:
        frames = list(read_window(source, 0, layout, window(timeline, 5, 8)))
    assert [np.array_equal(np.stack(planes, -1), made[5 + n]) for n, planes in enumerate(frames)] == [True] * 3


def test_a_run_is_another_one_when_a_file_its_number_of_files_or_its_rate_is(tmp_path: Path) -> None:
    make_run(tmp_path, DPX, 4, 10)
    uri = f"{tmp_path}/{DPX}"
    prints, stamps = {fingerprint(uri)}, {stat(uri)}
    prints.add(fingerprint(f"{uri}#fps=25:1"))
    write(tmp_path / (DPX % 1005), codes(9, 48, 64, 10), 10)
    prints.add(fingerprint(uri))
    stamps.add(stat(uri))
    write(tmp_path / (DPX % 1002), codes(8, 48, 64, 10), 10)
    prints.add(fingerprint(uri))
    stamps.add(stat(uri))
    assert (len(prints), len(stamps)) == (4, 3)


@pytest.mark.parametrize(("codec", "depth"), [("dpx", 8), ("dpx", 10), ("dpx", 12), ("dpx", 16), ("png", 8),
                                              ("png", 16), ("tiff", 8), ("tiff", 16)])  # fmt: skip
def test_every_sample_of_every_frame_is_written_and_always_to_the_same_bytes(
    codec: str, depth: int, tmp_path: Path
) -> None:
    settings = EncodeSettings(codec=codec, bit_depth=depth)  # type: ignore[arg-type]
    layout = master_layout(settings, Layout("rgb", depth), "a")
    assert layout == Layout("rgb", depth)
    suffix = {"tiff": "tif"}.get(codec, codec)
    made = [codes(n, 30, 50, depth) for n in range(7)]
    colour = Colour(0, 1, 13, True)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        frames = (to_frame(tuple(pixels[..., i].astype(layout.dtype) for i in range(3)), layout) for pixels in made)
        run = sequence.Pattern(f"{tmp_path}/{folder}/a.", 5, f".{suffix}")
        wrote = writer.write_files(
            lambda n, run=run: run.name(86400 + n), settings, layout, colour, Fraction(1), Fraction(25), frames
        )
        assert wrote == 7
    names = [f"a.{86400 + n}.{suffix}" for n in range(7)]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    frames_read, _, held = _planes(f"{tmp_path}/one/a.%05d.{suffix}")
    assert held == layout
    assert all(np.array_equal(np.stack(p, -1), m) for p, m in zip(frames_read, made, strict=True))


@pytest.mark.parametrize("suffix", [".dpx", ".exr", ".tif"])
def test_what_a_header_says_is_carried_over(suffix: str, tmp_path: Path) -> None:
    make_run(tmp_path, f"a.%d{suffix}", 2, 10 if suffix == ".dpx" else 16)
    layout = {".dpx": Layout("rgb", 10), ".exr": Layout("light", 16), ".tif": Layout("rgb", 16)}[suffix]
    settings = EncodeSettings(codec={".tif": "tiff"}.get(suffix, suffix[1:]))  # type: ignore[arg-type]
    blank = tuple(np.full((96, 128), 0x8000, np.uint16) >> (16 - layout.depth) for _ in range(3))
    headers = [writer.read_header(str(tmp_path / f"a.{1001 + n}{suffix}"), "a") for n in range(2)]
    writer.write_files(
        lambda n: str(tmp_path / f"b.{n}{suffix}"), settings, layout, Colour(0, 1, 8, True), Fraction(1),
        exact_rate(23.976) if suffix == ".dpx" else Fraction(25), (to_frame(blank, layout) for _ in range(2)), headers,
    )  # fmt: skip
    for n in range(2):
        before, after = said(tmp_path / f"a.{1001 + n}{suffix}"), said(tmp_path / f"b.{n}{suffix}")
        kept = {name for name in before if name not in writer._OF_THE_FILE and not name.startswith("tiff:")}
        assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
        assert len(kept) >= (3 if suffix == ".tif" else 8)
        if suffix != ".tif":
            assert after["smpte:TimeCode"] == (0x01000000 + n, 0)


def test_no_half_float_changes_on_its_way_to_a_network_and_back() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32)
    numbers = every[(every > 0x03FF) & (every < 0xFC00)]  # all but infinities and what is no number
    assert len(numbers) == 63488
    back = places_of(display_of(numbers)).to(torch.int32) & 0xFFFF
    assert torch.equal(back, numbers)
    values = halves(numbers.numpy().astype(np.uint16))
    assert (np.diff(values.astype(np.float32)) >= 0).all()
    assert np.array_equal(places(values), numbers.numpy())


def test_light_comes_back_from_the_device_as_it_was(tmp_path: Path) -> None:
    layout, colour = Layout("light", 16), Colour(0, 1, 8, True)
    planes = tuple(places(light(0, 24, 32)[..., i]) for i in range(3))
    rgb = to_rgb([planes], layout, colour, torch.device("cpu"))
    assert rgb.min() < 0
    assert rgb.max() > 1
    back = [code.numpy().view(np.uint16)[0] for code in to_codes(rgb, layout, colour, 0)]
    assert all(np.array_equal(a, b) for a, b in zip(planes, back, strict=True))


@pytest.mark.parametrize("bad", [np.inf, np.nan, 70000.0])
def test_light_that_no_half_holds_is_refused(bad: float, tmp_path: Path) -> None:
    for n in range(2):
        pixels = light(n, 16, 16).astype(np.float32)
        pixels[3, 4, 1] = bad if n else 0
        write(tmp_path / "library" / f"a.{n}.exr", pixels)
    (title,) = titles(tmp_path / "library", Profile.model_validate({"master": {"codec": "exr"}})).values()
    with pytest.raises(UnsupportedSource, match="65504"):
        plan_title(title, read_profile(None, {"master.codec": "exr", "scale": 2}), Store(str(tmp_path / "store")))


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("a.%d.exr", {}, "would cut off at black and white"),
        ("a.%d.exr", {"master.codec": "exr", "model": "swift", "scale": 2}, "swift would cut off"),
        (DPX, {"master.codec": "exr"}, "EXR masters are made of EXR files alone"),
        (DPX, {"master.codec": "jpeg"}, "jpeg masters would hold 8"),
    ],
)
def test_nothing_is_cut_off_in_silence(name: str, settings: dict[str, object], words: str, tmp_path: Path) -> None:
    make_run(tmp_path / "library", name, 2, 10)
    profile = read_profile(None, settings)
    (title,) = titles(tmp_path / "library", profile).values()
    with pytest.raises(UnsupportedSource, match=words):
        plan_title(title, profile, Store(str(tmp_path / "store")))


def test_a_jpeg_master_is_what_jpeg_files_are(tmp_path: Path) -> None:
    settings = EncodeSettings(codec="jpeg")
    layout = master_layout(settings, Layout("rgb", 8), "a")
    colour = master_colour(Colour(0, 1, 13, True), layout, "jpeg")
    assert (layout, colour.matrix, colour.full_range) == (Layout("yuv", 8), 5, True)
    rgb = torch.from_numpy(codes(0, 32, 48, 8).astype(np.float32) / 255).permute(2, 0, 1).unsqueeze(0)
    planes = tuple(plane[0].numpy() for plane in to_codes(rgb, layout, colour, 0))
    frames = (to_frame(planes, layout) for _ in range(2))
    writer.write_files(
        lambda n: str(tmp_path / f"a.{n}.jpg"), settings, layout, colour, Fraction(1), Fraction(25), frames
    )
    read, _, held = _planes(f"{tmp_path}/a.%d.jpg")
    assert held == layout
    assert max(np.abs(a.astype(int) - b.astype(int)).mean() for a, b in zip(read[0], planes, strict=True)) < 1


def test_a_run_takes_the_place_of_another_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    make_run(tmp_path / "out" / "plate", DPX, 9, 10, 1000)
    (tmp_path / "out" / "plate" / "notes.txt").write_text("mine")
    key = f"plate/{DPX}"
    with store.temporary_folder() as folder:
        make_run(folder, DPX, 4, 10)
        whole = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
        confirmed: list[int] = []
        digest = store.put_file(folder / DPX, key, move=True, commit=lambda: confirmed.append(1))
    assert digest.sha256 == hashlib.sha256(whole).hexdigest()
    assert digest.size == len(whole) == store.size(key)
    assert confirmed
    assert store.matches(key, digest)
    names = sorted(path.name for path in (tmp_path / "out" / "plate").iterdir())
    assert names == ["notes.txt", *(DPX % n for n in range(1001, 1005))]
    (tmp_path / "out" / "plate" / (DPX % 1003)).write_bytes(b"torn")
    assert not store.matches(key, digest)


def test_writing_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "OpenImageIO", None)
    with pytest.raises(UsageError, match=r"remaster\[sequences\]"):
        writer.read_header(str(tmp_path / "a.dpx"), "a")


def test_eight_bit_rgb_survives_its_segment(tmp_path: Path) -> None:
    from tasks.media.reading.source import Source
    from tasks.media.writing.segment import SegmentWriter, read_segment

    layout = Layout("rgb", 8)
    planes = tuple(codes(0, 20, 30, 8)[..., i].astype(np.uint8) for i in range(3))
    with SegmentWriter(str(tmp_path / "s.mkv"), 20, 30, layout, 5) as segment:
        segment.write(planes)
    (frame,) = read_segment(Source(str(tmp_path / "s.mkv"), "s"), layout, 5, 6)
    assert all(np.array_equal(a, b) for a, b in zip(to_planes(frame, layout), planes, strict=True))
