"""A master stands as long as nothing it depends on has changed; whatever has, its title is looked at again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.run import Outcome, Run
from flows.standing import Standings
from tasks.profile import read_profile, with_settings
from tasks.records import Revision, Title
from tasks.store import stat

DONE = Outcome(title="film.mp4", state="done", master="", frames=9, shards=3, cached=1, seconds=7.0)


class Made:
    """A library with one title, and its master as a run noted it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.master = folder / "library" / "film.mp4", folder / "out" / "film.mp4"
        self.receipt = folder / "out" / "film.mp4.receipt"
        for file in (self.source, self.master, self.receipt):
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(file.name.encode())
        self.run = Run(
            library=str(self.source.parent), output=str(self.master.parent), profile=read_profile(None, {}), id="one"
        )
        seen = stat(str(self.source))
        self.title = Title("film.mp4", str(self.source), seen.size, seen.stamp, container="mp4")
        done = DONE.model_copy(update={"master": str(self.master)})
        Standings(self.run).note(self.title, done, str(self.receipt))

    def stands(self, **changed: object) -> bool:
        """For a run of which this is otherwise."""
        run = self.run.model_copy(update={"id": "two", **changed})
        return Standings(run).find("film.mp4", str(self.source)) is not None


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_what_did_not_change_stands_and_says_how_it_ended(made: Made) -> None:
    standings = Standings(made.run)
    assert standings.find("film.mp4", str(made.source)) == made.title
    outcome = standings.outcomes["film.mp4"]
    assert (outcome.state, outcome.master, outcome.frames) == ("done", str(made.master), 9)
    assert (outcome.cached, outcome.shards, outcome.seconds) == (3, 3, 0.0)


CHANGES: dict[str, Callable[[Made], object]] = {
    "the source was replaced": lambda made: made.source.write_bytes(b"another film"),
    "the source was touched": lambda made: made.source.touch(),
    "the source is gone": lambda made: made.source.unlink(),
    "the master is gone": lambda made: made.master.unlink(),
    "the master was written to": lambda made: made.master.write_bytes(b"FILM.mp4"),
    "the receipt is gone": lambda made: made.receipt.unlink(),
    "the note is damaged": lambda made: [
        note.write_bytes(note.read_bytes().replace(b'"done"', b'"fine"'))
        for note in (made.master.parent / ".remaster" / "standing").rglob("*.json")
    ],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_what_changed_does_not_stand(made: Made, change: Callable[[Made], object]) -> None:
    change(made)
    assert not made.stands()


@pytest.mark.parametrize("setting", ["scale=2", "model=bicubic", "master.quality=30", "check.fidelity=30.0", "seed=1"])
def test_another_setting_asks_for_another_master(made: Made, setting: str) -> None:
    name, value = setting.split("=")
    typed = value if name == "model" else float(value) if "." in value else int(value)
    assert not made.stands(profile=with_settings(made.run.profile, {name: typed}))


def test_how_hard_a_run_tries_does_not_change_a_master(made: Made) -> None:
    assert made.stands(profile=with_settings(made.run.profile, {"retry.attempts": 9}), settle=60.0, workers=3)


def test_what_is_to_be_made_again_or_otherwise_does_not_stand(made: Made) -> None:
    assert not made.stands(force=True)
    assert not made.stands(revisions=(Revision("film.mp4", 0, 3, again=True),))
    assert not made.stands(revisions=(Revision("film.mp4", 0, 3, (("model", "bicubic"),)),))
    assert made.stands(revisions=(Revision("other.mp4", 0, 3, again=True),))


def test_what_a_person_had_made_otherwise_stands_for_a_run_that_says_nothing_of_it(made: Made) -> None:
    revised = (Revision("film.mp4", 0, 3, (("model", "bicubic"),), "too sharp"),)
    done = DONE.model_copy(update={"master": str(made.master)})
    Standings(made.run.model_copy(update={"revisions": revised})).note(made.title, done, str(made.receipt))
    assert made.stands()
    assert made.stands(revisions=revised)
    assert not made.stands(revisions=(Revision("film.mp4", 0, 3, (("model", "lanczos"),)),))


def test_every_version_of_the_code_is_asked_for() -> None:
    root = Path(__file__).resolve().parents[2]
    code = [path.read_text() for path in (*(root / "tasks").rglob("*.py"), *(root / "vsr_model").glob("*.py"))]
    there = {name for text in code for name in re.findall(r"^([A-Z]+_VERSION) = ", text, re.MULTILINE)}
    assert len(there) >= 9
    asked = (root / "flows/standing.py").read_text() + "".join(
        re.findall(r"^[A-Z]+_VERSIONS = .*", "\n".join(code), re.M)
    )
    assert {name for name in there if name not in asked.partition("_asked")[2]} == set()
