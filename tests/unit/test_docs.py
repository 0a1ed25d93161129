"""Documents that list what the code defines list all of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from flows.cli import parser
from flows.manual import manual, settings, with_settings
from flows.stopping import Stopped
from tasks import tables
from tasks.errors import RemasterError
from tasks.profile import read_profile, setting_names
from tasks.store.s3_errors import Unreachable
from vsr_model.errors import ModelError

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/profiles.md").read_text(), re.MULTILINE)
    assert documented == setting_names()


def test_the_settings_in_the_document_are_what_the_model_says() -> None:
    """After a change of the profile's model: `python -m flows.manual`."""
    page = (ROOT / "docs/profiles.md").read_text()
    assert settings() in page
    assert with_settings(page) == page, "run python -m flows.manual"


@pytest.mark.parametrize("table", ["TITLES", "SHARDS", "LEDGER", "TIMELINE", "FIELDS", "ESTIMATES"])
def test_every_column_of_every_table_is_documented(table: str) -> None:
    text = (ROOT / "docs/tables.md").read_text()
    section = text[
        text.index({"TIMELINE": "## timelines", "FIELDS": "## fields"}.get(table, f"## {table.lower()}.parquet")) :
    ]
    section = section.split("\n## ", 1)[0] if section.count("\n## ") else section
    documented = {c.strip() for row in re.findall(r"^\| ([a-z_, ]+) \|", section, re.MULTILINE) for c in row.split(",")}
    assert documented - {"column"} == set(getattr(tables, table).names)


def test_the_readme_names_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    known = set(parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr, arg-type]
    assert set(re.findall(r"`remaster ([a-z]+)", text)) == known
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)


def test_the_reference_of_commands_is_what_the_command_line_says() -> None:
    """After a change of the command line: `python -m flows.manual`."""
    assert (ROOT / "docs/cli.md").read_text() == manual()


def test_every_error_that_a_person_can_meet_is_in_the_table_of_remedies() -> None:
    rows = re.findall(
        r"^\| [^|]*`([A-Z]\w+)`[^|]* \| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs/recover.md").read_text(), re.M
    )
    importlib.import_module("tasks.store.s3_errors")  # whichever tests ran before
    errors = errors_below(RemasterError, ModelError)
    assert {Stopped, Unreachable} <= set(errors)
    known = {error.__name__ for error in errors}
    assert len(rows) == len({name for name, _, _ in rows})
    assert {name for name, _, _ in rows} == known - {"PermanentError", "TransientError"}


def test_remedies_are_commands_that_exist() -> None:
    text = (ROOT / "docs/recover.md").read_text()
    commands = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for name, rest in re.findall(r"`remaster ([a-z]+)([^`]*)`", text):
        options = {option for action in commands[name]._actions for option in action.option_strings}  # type: ignore[index, call-overload]
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, (name, rest)
        assert set(re.findall(r"--with ([a-z_.]+)=", rest)) <= set(setting_names()), rest


def errors_below(*above: type[BaseException]) -> set[type[BaseException]]:
    """All kinds of error of the project below these; what a module has for itself alone begins with an underscore."""
    below = {error for one in above for error in one.__subclasses__() if not error.__name__.startswith("_")}
    ours = {error for error in below if error.__module__.split(".")[0] in {"flows", "tasks", "vsr_model"}}
    return ours | (errors_below(*ours) if ours else set())


def test_the_profiles_in_documents_and_demo_are_valid(tmp_path: Path) -> None:
    blocks = [
        b
        for d in ("README.md", "docs/profiles.md")
        for b in re.findall(r"```toml\n(.*?)```", (ROOT / d).read_text(), re.DOTALL)
    ]
    assert len(blocks) >= 3
    for block in blocks:
        (tmp_path / "profile.toml").write_text(block)
        read_profile(str(tmp_path / "profile.toml"), {})
    read_profile(str(ROOT / "datasets/demo/demo.toml"), {})
