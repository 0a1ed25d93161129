"""Documents that list what the code defines list all of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from flows.cli import parser
from flows.library import remaster_library
from flows.manual import manual, settings, with_settings
from flows.review import remaster_review
from flows.stopping import Stopped
from tasks import tables
from tasks.errors import RemasterError
from tasks.profile import read_profile, setting_names
from tasks.store.s3_errors import Unreachable
from vsr_model.errors import ModelError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [str(page.relative_to(ROOT)) for page in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))]


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


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_documents_exist(page: str) -> None:
    """In code blocks, where a line may go on, and within sentences."""
    text = (ROOT / page).read_text()
    commands = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    typed = [block.replace("\\\n", " ") for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)]
    typed += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for name, rest in re.findall(r"^(?:\$ )?remaster ([a-z]+)\b(?![.])([^#\n]*)", "\n".join(typed), re.MULTILINE):
        if f"remaster {name}" in {remaster_library.name, remaster_review.name} and name not in commands:  # type: ignore[operator]
            continue  # a flow's name
        assert name in commands, (name, rest)  # type: ignore[operator]
        options = {option for action in commands[name]._actions for option in action.option_strings}  # type: ignore[index, call-overload]
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options, (name, rest)
        assert set(re.findall(r"--(?:with|set) ([a-z_.]+)=", rest)) <= set(setting_names()), rest


@pytest.mark.parametrize("page", PAGES)
def test_links_in_documents_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)):
        if link.startswith(("http://", "https://")):
            continue
        place, _, section = link.partition("#")
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.exists(), link
        if section:
            assert section in sections(target.read_text()), link


def sections(text: str) -> set[str]:
    """What links call the headings of a page: small letters, spaces as hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


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
