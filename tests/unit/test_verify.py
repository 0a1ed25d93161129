"""Nothing changes unseen: one flipped byte in a master, receipt, segment or record is named, with what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import main
from tasks.seal import opened
from tasks.signing import VARIABLE
from tests import mastered
from tests.mastered import TITLE, Mastered, flip
from tests.unit.test_receipt import PLACE, write_keys

Say = Callable[[], str]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    root = tmp_path_factory.mktemp("original")
    films = mastered.library(root / "films")
    return mastered.remaster(films, str(root / "out"), str(root / "out" / ".remaster"))


@pytest.fixture
def output(original: Mastered, tmp_path: Path) -> Path:
    """A copy of the masters, receipts and store that a test may damage."""
    shutil.copytree(original.output, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def store(output: Path) -> Path:
    return output / ".remaster"


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_all_is_well(output: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(output), str(output / TITLE), str(output / PLACE), str(store)]) == 0
    out = said(capsys)
    assert out.count("25 frames, unsigned") == 3
    assert "all as they should be" in out


def test_every_finding_can_be_had_as_json(output: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json", str(output), str(store)]) == 0
    found = [json.loads(line) for line in said(capsys).splitlines()]
    assert found[0] == {"place": str(output / TITLE), "ok": True, "seen": "25 frames, unsigned", "remedy": ""}
    assert all(finding["ok"] for finding in found)
    kept = {str(file) for file in store.rglob("*") if file.is_file() and "records" not in file.parts}
    assert {finding["place"] for finding in found} == {str(output / TITLE), *kept}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_byte_of_a_master(share: float, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(output / TITLE, int(share * (output / TITLE).stat().st_size))
    assert main(["verify", str(output)]) == 1
    out = said(capsys)
    assert f"{output / TITLE}\n  master of {TITLE}: its bytes have changed" in out
    assert "remaster rerun" in out


def test_the_frames_and_shards_a_damaged_master_lost_are_named(
    original: Mastered, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = output / TITLE
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) * 2 // 3])
    assert main(["verify", str(place)]) == 1
    out = said(capsys)
    last = original.plan.shards[-1]
    assert f"bytes of {len(whole)}" in out
    assert "of 25 frames differ, the first is frame" in out
    assert f"[{last.start},{last.stop})" in out


def test_sound_that_was_changed_is_told_from_picture(
    original: Mastered, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = output / TITLE
    sound = place.read_bytes().rindex(b"film one")  # the title tag: no frame is in it
    flip(place, sound)
    assert main(["verify", str(place)]) == 1
    assert "its picture is whole" in said(capsys)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_a_flipped_byte_of_a_receipt(share: float, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(output / PLACE, int(share * (output / PLACE).stat().st_size))
    assert main(["verify", str(output)]) == 1
    assert f"{output / PLACE}\n  the receipt of {TITLE} is not to be believed" in said(capsys)


@pytest.mark.parametrize("offset", [0, 100, 1000, -1])
def test_a_flipped_byte_of_a_segment_names_its_shard(
    offset: int, original: Mastered, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard, segment = original.plan.shards[1], store / original.records[1].segment
    flip(segment, offset)
    assert main(["verify", str(store)]) == 1
    out = said(capsys)
    assert f"{segment}\n  segment of shard {shard.name}: its bytes have changed" in out
    assert "1 not as they should be" in out


@pytest.mark.parametrize("offset", [0, 30, 150, -10])
def test_a_flipped_byte_of_a_record_names_its_shard(
    offset: int, original: Mastered, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = original.plan.shards[1]
    flip(store / shard.record, offset)
    assert main(["verify", str(store)]) == 1
    assert f"{store / shard.record}\n  record of shard {shard.name}: is damaged" in said(capsys)


@pytest.mark.parametrize("kind", ["masters", "pictures", "likeness", "fingerprints", "timelines"])
def test_a_flipped_byte_of_what_can_be_made_anew(kind: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = (each for each in (store / kind).rglob("*") if each.is_file())
    flip(file, 50)
    assert main(["verify", str(store)]) == 1
    out = said(capsys)
    assert f"{file}\n  " in out and "is damaged" in out
    assert "Delete it: it is made anew when it is needed." in out


def test_a_segment_that_no_record_speaks_of_is_known_by_its_name(
    original: Mastered, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / original.plan.shards[0].record).unlink()
    assert main(["verify", str(store)]) == 0
    flip(store / original.records[0].segment, 400)
    assert main(["verify", str(store)]) == 1
    assert "segment that no record speaks of: its bytes have changed" in said(capsys)


def test_what_an_older_version_wrote_is_told_from_what_is_damaged(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked,) = store.glob("runs/*/run.json")
    asked.write_bytes(opened(asked.read_bytes()))
    assert main(["verify", "--json", str(store)]) == 0
    assert "what a run was asked: readable, and without a seal" in said(capsys)
    (print_,) = (store / "fingerprints").iterdir()
    print_.write_text("0" * 64)  # as it was kept once: nothing shows whether it is the right one
    assert main(["verify", str(store)]) == 1
    assert f"{print_}\n  fingerprint of a source: is damaged" in said(capsys)


def test_a_table_of_shards_that_cannot_be_read_is_named(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table,) = store.glob("runs/*/shards.parquet/*")
    flip(table, table.read_bytes().index(b"PAR1", 4) - 4)
    assert main(["verify", str(store)]) == 1
    assert f"{table}\n  table of shards of a run: is damaged" in said(capsys)


def test_what_is_missing_is_said(original: Mastered, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment = output / ".remaster" / original.records[0].segment
    segment.unlink()
    (output / PLACE).unlink()
    assert main(["verify", str(output), str(output / ".remaster")]) == 1
    out = said(capsys)
    assert f"{output / TITLE}\n  has no receipt ({PLACE})" in out
    assert f"{segment}\n  segment of shard {original.plan.shards[0].name}: is gone" in out


def test_a_master_that_is_gone_is_known_by_its_receipt(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (output / TITLE).unlink()
    assert main(["verify", str(output)]) == 1
    assert f"master of {TITLE}: is gone" in said(capsys)


def test_what_was_found_is_mended_by_running_again(original: Mastered, output: Path) -> None:
    root = Path(original.output).parent
    for place in (output / TITLE, output / PLACE):
        flip(place, 400)
    flip(output / ".remaster" / original.records[0].segment, 400)
    flip(output / ".remaster" / original.plan.shards[1].record, 40)
    assert main(["verify", str(output), str(output / ".remaster")]) == 1
    # The record of the master knows its place.
    mastered.remaster(root / "films", str(output), str(output / ".remaster"))
    assert main(["verify", str(output), str(output / ".remaster")]) == 0
    assert (output / PLACE).read_bytes() == (Path(original.output) / PLACE).read_bytes()


def test_with_a_key_only_its_own_signature_will_do(
    original: Mastered,
    output: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        write_keys(folder)
    public = str(ours / "public.pem")
    assert main(["verify", "--key", public, str(output)]) == 1
    assert "is not signed" in said(capsys)
    films = Path(original.output).parent / "films"
    for folder, code, words in ((theirs, 1, "signed by another key"), (ours, 0, "25 frames, signed by")):
        monkeypatch.setenv(VARIABLE, str(folder / "key.pem"))
        mastered.remaster(films, str(output), str(output / ".remaster"))
        assert main(["verify", "--key", public, str(output)]) == code
        assert words in said(capsys)
    (output / PLACE).unlink()
    assert main(["verify", "--key", public, str(output)]) == 1


def test_nothing_to_verify_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "nowhere")]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    assert main(["verify", "--key", str(tmp_path / "no.pem"), str(tmp_path)]) == 2
    assert "holds no master and is no store" in capsys.readouterr().err


def test_it_needs_neither_prefect_nor_ray(output: Path, store: Path) -> None:
    code = (
        "import sys; from flows.cli import main\n"
        f"assert main(['verify', {str(output)!r}, {str(store)!r}]) == 0\n"
        f"assert main(['clean', {str(store)!r}]) == 0\n"
        "assert not {'prefect', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("suffix", [".dpx", ".png", ".tif", ".jpg"])
def test_numbered_files_without_a_receipt_are_named(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        for name in ("plate/plate", "posters/a"):
            place = tmp_path / f"{name}.{number:04d}{suffix}"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(b"a picture")
    assert main(["verify", str(tmp_path)]) == 1
    out = said(capsys)
    assert "plate/plate.%04d" in out and "has no receipt" in out
    assert ("posters" in out) == (suffix == ".dpx")
