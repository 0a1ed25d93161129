"""`python -m flows.manual` writes the references in `docs/`: of commands, and of a profile's settings. Runs nothing.

The commands are the parser's own, the settings the model's; what else docs/profiles.md says is written by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from flows.cli import parser
from flows.described import default, sections, values
from tasks.profile import Profile

_DOCS = Path(__file__).resolve().parents[1] / "docs"

_HEAD = """\
# Commands

Written by `python -m flows.manual` from the command line itself; a test holds it to that.

Exit codes of every command: 0 all good, 1 failed, 2 wrong usage, 3 finished with exceptions or stopped.
`remaster --verbose COMMAND` shows Prefect's log lines too.
"""

# Around what is written into docs/profiles.md.
_BEGIN, _END = "<!-- settings: written by `python -m flows.manual` -->", "<!-- end of settings -->"


def manual() -> str:
    """All commands with their arguments, as Markdown."""
    return "\n".join([_HEAD, *_sections(parser())])


def settings() -> str:
    """Every setting of a profile with what it may be, as Markdown: a table for each of its sections."""
    return "\n".join(_settings(Profile, ""))


def with_settings(page: str) -> str:
    """A page with the settings where it has room for them."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{settings()}{_END}{after}"


def _settings(model: type[BaseModel], prefix: str) -> Iterator[str]:
    within = sections(model)
    head = f"### `{prefix}*`\n\n" if prefix else ""
    yield f"{head}{model.__doc__}\n\n| setting | values | default | meaning |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        if name not in within:
            usual = default(model, name)
            told = values(model, name), f"`{usual}`" if usual else "unset", field.description or ""
            yield f"| `{prefix}{name}` | {' | '.join(map(_cell, told))} |"
    yield ""
    for name, section in within.items():
        yield from _settings(section, f"{prefix}{name}.")


def _sections(command: argparse.ArgumentParser) -> Iterator[str]:
    """A section for each command below one, and for those below these."""
    for inner in _commands(command):
        positional = [action for action in inner._actions if not action.option_strings and not _is_commands(action)]
        options = [action for action in inner._actions if action.option_strings and action.dest != "help"]
        required = [_spelled(action) for action in options if action.required]
        words = [inner.prog, *required, *(["[options]"] if len(options) > len(required) else [])]
        words += map(_as_used, positional)
        yield f"## {inner.prog}\n\n{inner.description or ''}\n\n```sh\n{' '.join(words)}\n```\n"
        rows = [f"| `{_cell(_spelled(action))}` | {_cell(_meaning(action))} |" for action in (*positional, *options)]
        if rows:
            yield "\n".join(["| argument | what it means |", "|---|---|", *rows, ""])
        yield from _sections(inner)


def _commands(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from dict.fromkeys(action.choices.values())


def _is_commands(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def _spelled(action: argparse.Action) -> str:
    """How an argument is written: its names and what follows them."""
    name = "|".join(map(str, action.choices)) if action.choices else action.metavar or action.dest.upper()
    if not action.option_strings:
        return str(name)
    spelled = ", ".join(action.option_strings)
    return spelled if action.nargs == 0 else f"{spelled} {name}"


def _as_used(action: argparse.Action) -> str:
    spelled = _spelled(action)
    return {"?": f"[{spelled}]", "+": f"{spelled} [{spelled} ...]"}.get(str(action.nargs), spelled)


def _meaning(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "remaster"}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (_DOCS / "cli.md").write_text(manual(), encoding="utf-8")
    page = _DOCS / "profiles.md"
    page.write_text(with_settings(page.read_text(encoding="utf-8")), encoding="utf-8")
