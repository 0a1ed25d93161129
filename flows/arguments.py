"""What the words of a command line mean: places, files, runs, and the exit codes of every command. Imports little.

Exit codes: 0 all good, 1 failed, 2 wrong usage, 3 finished with exceptions.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from flows.described import told
from flows.request import in_a_sentence

if TYPE_CHECKING:
    from flows.run import Run, RunFiles
    from tasks.profile import Profile

REPEATED = "; may be repeated"
_Asked = TypeVar("_Asked", bound=BaseModel)

GOOD, FAILED, USAGE, EXCEPTIONS = 0, 1, 2, 3
EXIT_OF_VERDICT = {"completed": GOOD, "failed": FAILED, "exceptions": EXCEPTIONS, "stopped": EXCEPTIONS}


def add_command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command with its help, and the function that carries it out."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    command.set_defaults(command=function)
    return command


def add_field(
    command: argparse.ArgumentParser, model: type[BaseModel], name: str, *spelled: str, **otherwise: Any
) -> None:
    """Add the argument of a field: what it means, its range and its default are the model's.

    Args:
        command: to add it to.
        model, name: of the field; the value is found under its name.
        spelled: how the option is written; nothing for an argument that has none.
        otherwise: what the command line reads or takes by default in another way, for argparse.
    """
    field = model.model_fields[name]
    how: dict[str, Any] = {"help": told(model, name, otherwise.get("default"))}
    if not field.is_required():
        how["default"] = field.get_default(call_default_factory=True)
    if field.annotation is bool:
        how["action"] = "store_true"
    elif get_origin(field.annotation) in (list, dict) and "action" not in otherwise:
        how |= {"action": "append", "default": [], "help": f"{how['help']}{REPEATED}"}
    elif field.annotation in (int, float):
        how["type"] = field.annotation
    if spelled:
        how["dest"] = name
    command.add_argument(*(spelled or (name,)), **(how | otherwise))


def requested(model: type[_Asked], given: argparse.Namespace, **read: Any) -> _Asked:
    """What a command line asks for.

    Args:
        model: of what may be asked.
        given: has its fields, as `add_field` adds them; one that it lacks has its default.
        read: fields that a command reads in a way of its own.

    Raises:
        UsageError: something is out of its range.
    """
    from tasks.errors import UsageError

    asked = {name: getattr(given, name) for name in model.model_fields if hasattr(given, name)}
    try:
        return model(**(asked | read))
    except ValidationError as error:
        raise UsageError(in_a_sentence(error)) from error


def add_store(command: argparse.ArgumentParser, text: str, otherwise: str) -> None:
    """Add `--store`, and say where it is if nobody names one."""
    words = f"{text} (default: what REMASTER_STORE names, or {otherwise})"
    command.add_argument("--store", metavar="URI", default=os.environ.get("REMASTER_STORE", ""), help=words)


def file_uri(name: str) -> str:
    """The URI of a file that exists."""
    from tasks.errors import UsageError
    from tasks.store import is_remote, stat

    uri = place(name)
    try:
        stat(uri)
    except FileNotFoundError as error:
        if not is_remote(uri) and Path(uri).is_dir():
            raise UsageError(f"{name}: is a folder. Name one file in it.") from error
        raise UsageError(f"{name}: no such file. Check the path (quote names with spaces).") from error
    return uri


def place(name: str) -> str:
    """A normalised URI that records, tables and the server can hold."""
    from tasks.errors import UsageError
    from tasks.store import normalise

    try:
        name.encode()
    except UnicodeEncodeError as error:
        readable = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise UsageError(f"{readable}: its name is not valid UTF-8; rename it, or make a link to it.") from error
    return normalise(name)


def run_files(run_id: str, store: str) -> RunFiles:
    """The files of a run, or of the latest one for an empty id. Raises UsageError if there is no such run."""
    from flows.known import find_store
    from flows.run import RunFiles, list_runs
    from tasks.errors import UsageError
    from tasks.store import Store

    found = Store(place(store)) if store else find_store(run_id)
    runs = list_runs(found)
    wanted = run_id or (runs[-1] if runs else "")
    if wanted not in runs:
        known = f"It knows {', '.join(runs[-5:])}." if runs else "It knows none."
        raise UsageError(f"run {wanted or 'latest'}: store {found.root} does not know it. {known}")
    return RunFiles(found, wanted)


def require_ready(run: Run) -> None:
    """Refuse what would show only after hours of work: a key that does not sign, links to nowhere, places within the
    library.
    """
    from flows.links import served_places
    from tasks.scan import require_outside
    from tasks.signing import signer

    signer()
    served_places()
    require_outside(run.output, run.library, "output")
    require_outside(run.store, run.library, "store")


def require_usable(profile: Profile) -> None:
    """Refuse a network that is not installed, or a factor it does not have, before anything is started."""
    from tasks.errors import UsageError
    from vsr_model.registry import find
    from vsr_model.sizes import factors, makes

    entry = find(profile.model)
    missing = entry.missing() if entry.missing else ""
    if missing:
        raise UsageError(f"{profile.model}: its weights are not installed: {missing}.")
    if not makes(entry.info, Fraction(profile.scale)):
        raise UsageError(
            f"scale {profile.scale}: {entry.info.name} enlarges by {factors(entry.info)}. Choose such a scale, or"
            " another model."
        )
