"""The media contract's rows: a file keeps all of itself, and every single loss is seen and named."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from flows.cli import main
from tasks.check import check_master
from tasks.media.contract.contract import compare, shown
from tasks.media.contract.inventory import watch
from tasks.media.contract.rows import Row
from tasks.media.reading.source import Source
from tests.clips import Clip, make
from tests.mastered import remaster
from tests.remux import Change, remux
from tests.torture import captioned

CLIP = Clip(frames=12, b_frames=0, audio="flac", subtitle=True, chapters=True, attachment=True)


def held_against(source: Path, master: Path) -> dict[str, Row]:
    rows = compare(Source(str(source), source.name), Source(str(master), master.name))
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: row for row in rows}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("film") / "film.mkv", CLIP)


def test_a_file_keeps_all_of_itself(source: Path) -> None:
    rows = held_against(source, source)
    assert {row.verdict for row in rows.values()} == {"kept"}
    for promise in (
        "frames", "times", "size", "pixel aspect", "pixel format", "colour matrix", "colour range", "chapters",
        "stream 1 (audio flac): packets", "stream 1 (audio flac): times", "stream 1 (audio flac): language",
        "stream 2 (subtitle srt): durations", "stream 3 (attachment font.ttf): packets", "file: tags",
    ):  # fmt: skip
        assert promise in rows, sorted(rows)


def _drop(kind: str) -> Change:
    return Change(streams=lambda stream: stream.type != kind)


def _without(kind: str, which: int) -> Change:
    return Change(packet=lambda packet, number: packet.stream.type != kind or number != which)


def _later(kind: str, ticks: int) -> Change:
    def shift(packet: Any, number: int) -> bool:
        if packet.stream.type == kind:
            packet.pts, packet.dts = packet.pts + ticks, packet.pts + ticks
        return True

    return Change(packet=shift)


def _longer(packet: Any, number: int) -> bool:
    if packet.stream.type == "subtitle":
        packet.duration += 7
    return True


def _first(output: Any, kind: str) -> Any:
    return next(stream for stream in output.streams if stream.type == kind)


def _say(kind: str, **tags: str) -> Change:
    return Change(after=lambda output: _first(output, kind).metadata.update(tags))


def _forced(output: Any) -> None:
    _first(output, "subtitle").disposition = av.stream.Disposition.forced


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (_without("video", 11), "frames"),
        (_later("video", 1), "times"),
        (_drop("audio"), "stream 1 (audio flac)"),
        (_without("audio", 3), "stream 1 (audio flac): packets"),
        (_later("audio", 1), "stream 1 (audio flac): times"),
        (_say("audio", language="deu"), "stream 1 (audio flac): language"),
        (_say("audio", title="commentary"), ""),
        (_drop("subtitle"), "stream 2 (subtitle srt)"),
        (_without("subtitle", 1), "stream 2 (subtitle srt): packets"),
        (Change(packet=_longer), "stream 2 (subtitle srt): durations"),
        (Change(after=_forced), "stream 2 (subtitle srt): disposition"),
        (_drop("attachment"), "stream 3 (attachment font.ttf)"),
        (Change(chapters=False), "chapters"),
        (Change(after=lambda output: output.metadata.pop("title")), "file: tags"),
    ],
)
def test_one_loss_is_one_row(change: Change, row: str, source: Path, tmp_path: Path) -> None:
    rows = held_against(source, remux(source, tmp_path / "copy.mkv", change))
    assert [name for name, found in rows.items() if found.verdict == "lost"] == ([row] if row else [])


@pytest.mark.parametrize(
    ("other", "row"),
    [
        (replace(CLIP, width=80), "size"),
        (replace(CLIP, sample_aspect=Fraction(4, 3)), "pixel aspect"),
        (replace(CLIP, colour=(5, 1, 1, 1)), "colour matrix"),
        (replace(CLIP, colour=(1, 1, 1, 2)), "colour range"),
        (replace(CLIP, colour=None), "colour transfer"),
    ],
)
def test_another_picture_is_seen(other: Clip, row: str, source: Path, tmp_path: Path) -> None:
    rows = held_against(source, make(tmp_path / "film.mkv", other))
    assert rows[row].verdict == "lost"
    assert rows["frames"].verdict == rows["times"].verdict == "kept"


@pytest.mark.parametrize(
    ("width", "height", "pix_fmt", "verdict"),
    [
        (194, 142, "yuv420p", "changed"),
        (146, 106, "yuv420p", "changed"),  # one and a half times: 145.5 x 106.5
        (146, 107, "yuv444p", "changed"),
        (146, 106, "yuv444p", "lost"),  # nothing that makes 146 of 97 makes less than 107 of 71
        (144, 107, "yuv444p", "lost"),
        (150, 106, "yuv420p", "lost"),
        (96, 70, "yuv420p", "lost"),
        (48, 36, "yuv420p", "lost"),
    ],
)
def test_sides_grow_by_one_factor_but_for_what_they_are_rounded_by(
    width: int, height: int, pix_fmt: str, verdict: str, tmp_path: Path
) -> None:
    clip = Clip(frames=2, width=97, height=71, codec="ffv1", audio="")
    large = replace(clip, width=width, height=height, pix_fmt=pix_fmt)
    row = held_against(make(tmp_path / "film.mkv", clip), make(tmp_path / "large.mkv", large))["size"]
    assert row.verdict == verdict, row


@pytest.mark.parametrize(
    ("had", "has", "verdict"),
    [
        ("yuv420p", "yuv420p10le", "changed"),
        ("yuv420p10le", "yuv420p", "lost"),
        ("yuv444p", "yuv422p10le", "lost"),
        ("yuv422p", "yuv444p", "changed"),
        ("gray", "yuv420p", "changed"),
        ("yuv420p", "gray", "lost"),
    ],
)
def test_samples_may_become_finer_only(had: str, has: str, verdict: str, tmp_path: Path) -> None:
    kinds = (("a", had), ("b", has))
    paths = [make(tmp_path / f"{n}.mkv", replace(CLIP, frames=2, codec="ffv1", pix_fmt=f)) for n, f in kinds]
    assert held_against(*paths)["pixel format"].verdict == verdict


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p"])
def test_less_colour_by_choice_is_no_loss_to_check_and_comparison(
    pix_fmt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of the profile for the web, whose AV1 is 4:2:0; to whoever does not know of it, and by another, it is lost."""
    clip = Clip(frames=6, width=64, height=64, codec="ffv1", pix_fmt=pix_fmt, audio="")
    film = make(tmp_path / "films" / "film.mkv", clip)
    web = {"master.codec": "av1", "master.container": "mp4", "master.chroma": "420", "master.preset": "12"}
    done = remaster(film.parent, str(tmp_path / "out"), str(tmp_path / "store"), **web)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert check.passed, check.lines
    words = "has less colour resolution by choice: av1 as yuv420p10le"
    assert [seen for name, _, seen in check.lines if name == "pixel format"] == [
        f"yuv420p10le, source {pix_fmt}; {words}"
    ]
    for profile, verdict in (("web", "changed"), ("editing", "lost"), (None, "lost")):
        asked = ["--profile", profile] if profile else []
        assert main(["probe", "--compare", "--json", *asked, str(film), done.master.uri]) == (verdict == "lost")
        (row,) = [row for row in json.loads(capsys.readouterr().out) if row["name"] == "pixel format"]
        assert row["verdict"] == verdict
        assert row["note"] == words if profile == "web" else row["note"] == "has less colour resolution"


def test_captions_that_a_codec_cannot_hold_are_gone_by_choice(tmp_path: Path) -> None:
    film = captioned(tmp_path / "captions.mp4")
    plain = make(tmp_path / "plain.mp4", Clip(frames=10))
    before, after = watch(Source(str(film), "film"), 0), watch(Source(str(plain), "master"), 0)
    for codec, verdict in (("vp9", "changed"), ("h264", "lost"), ("", "lost")):
        (row,) = shown(before, after, codec)
        assert (row.name, row.verdict) == ("closed captions", verdict)


def test_coarser_ticks_are_said_and_no_loss(tmp_path: Path) -> None:
    clip = replace(CLIP, attachment=False, chapters=False, rate=Fraction(24000, 1001), audio="aac", subtitle=False)
    film = make(tmp_path / "film.mp4", clip)
    rows = held_against(film, remux(film, tmp_path / "copy.mkv", Change(options={"avoid_negative_ts": "disabled"})))
    assert rows["times"].verdict == "changed"
    assert rows["times"].note.startswith("rounded to ticks of 1/1000 s; number")


def test_the_command_prints_the_rows_and_leaves_with_the_verdict(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "--compare", str(source), str(source)]) == 0
    assert "nothing lost" in capsys.readouterr().out
    worse = remux(source, tmp_path / "copy.mkv", _drop("subtitle"))
    assert main(["probe", "--compare", str(source), str(worse)]) == 1
    out = capsys.readouterr().out
    assert "lost    stream 2 (subtitle srt)" in out
    assert "the master has no such stream" in out
    assert main(["probe", "--compare", "--json", str(source), str(worse)]) == 1
    assert {row["verdict"] for row in json.loads(capsys.readouterr().out)} == {"kept", "lost"}
    assert main(["probe", "--compare", str(source)]) == 2
    assert main(["probe", str(source), str(worse)]) == 2


def test_captions_are_held_against_the_pictures_that_carry_them(tmp_path: Path) -> None:
    source = Source(str(captioned(tmp_path / "captions.mp4")), "captions")
    plain, same = watch(source, 0), watch(source, 0, {number: number for number in range(100)})
    assert plain.captions and plain.captions_sha256 == same.captions_sha256
    doubled = watch(source, 0, {number: 2 * number for number in range(100)})
    assert doubled.captions_sha256 != plain.captions_sha256
    assert doubled.captions_sha256 != watch(source, 0, {}).captions_sha256


@pytest.mark.parametrize("audio", ["mp2", "mp3"])
def test_the_same_packets_are_the_same_sound_whatever_a_container_calls_them(audio: str, tmp_path: Path) -> None:
    film = make(tmp_path / "film.ts", Clip(frames=12, b_frames=0, audio=audio))
    rows = held_against(film, remux(film, tmp_path / "copy.mp4", Change()))
    assert [row.verdict for name, row in rows.items() if "audio" in name and "packets" in name] == ["kept"]
    assert not any("samples" in name for name in rows)
