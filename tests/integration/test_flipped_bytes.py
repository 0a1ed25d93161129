"""One flipped byte anywhere in the store of a run is named, whichever file it is in; and the store is whole before."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from flows.cli import main
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.faulty import Faults
from tests.fielded import film, soft, telecined, write
from tests.mastered import flip

SETTINGS = (
    *("--model", "faulty", "--scale", "2", "--set", "shards.frames=20", "--set", "retry.attempts=1"),
    *("--set", "master.preset=ultrafast", "--set", "check.picture=hold", "--set", "check.vmaf=1"),
)
# Everything a run may leave, but for previews, estimates and leases, which no run of this kind does.
FOLDERS = {
    *("fields", "fingerprints", "grades", "held", "holds", "likeness", "masters", "pictures", "places", "records"),
    *("repeats", "results", "runs", "segments", "standing", "timelines"),
}
PLACES = 4  # of each file: its first byte, its last, and some between


@pytest.fixture(scope="module")
def store(remaster: Remaster, remaster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run over a master that waits, film in interlaced video, and film with flags."""
    folder = tmp_path_factory.mktemp("flipped")
    library, faults = folder / "films", Faults(folder / "faults")
    make(library / "held.mp4", Clip(frames=30, width=128, height=96))
    pictures = film(16)
    write(library / "telecined.mkv", telecined(pictures))
    soft(library / "soft.ts", pictures)
    env = faults.env(remaster_env)
    faults.happen("black", 15)  # of the one title that has two shards
    result = remaster("run", library, folder / "out", *SETTINGS, env=env)
    assert result.returncode == 3 and "waits for a person" in result.stderr, result.stdout + result.stderr
    return folder / "out" / ".remaster"


def findings(store: Path, capsys: pytest.CaptureFixture[str], code: int) -> list[dict[str, str]]:
    assert main(["verify", "--json", str(store)]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def files(store: Path) -> list[Path]:
    return sorted(file for file in store.rglob("*") if file.is_file())


def test_every_file_is_checked(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {file.relative_to(store).parts[0] for file in files(store)} == FOLDERS
    checked = {finding["place"] for finding in findings(store, capsys, 0)}
    # A segment is checked with its record, and named.
    assert checked == {str(file) for file in files(store) if "records" not in file.parts}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flipped_byte_of_any_file_is_named(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(7)
    for file in files(store):
        whole = file.read_bytes()
        between = [chance.randrange(len(whole)) for _ in range(PLACES - 2)]
        for offset in (0, *between, len(whole) - 1):
            flip(file, offset, 1 << chance.randrange(8))
            bad = [finding for finding in findings(store, capsys, 1) if not finding["ok"]]
            assert [finding["place"] for finding in bad] == [str(file)], f"byte {offset} of {len(whole)}"
            assert bad[0]["seen"] and bad[0]["remedy"]
            file.write_bytes(whole)
