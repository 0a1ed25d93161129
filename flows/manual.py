"""`python -m flows.manual > docs/cli.md`: the command line, written down from its own parser. Runs nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from flows.cli import parser

_HEAD = """\
# Commands

Written by `python -m flows.manual > docs/cli.md` from the command line itself; a test holds it to that.

Exit codes of every command: 0 all good, 1 failed, 2 wrong usage, 3 finished with exceptions or stopped.
`remaster --verbose COMMAND` shows Prefect's log lines too.
"""


def manual() -> str:
    """All commands with their arguments, as Markdown."""
    return "\n".join([_HEAD, *_sections(parser())])


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
    print(manual(), end="")
