"""The `remaster` command: parses, starts the flow, prints. Prefect and Ray are imported only where they are needed.

Here are the commands that run or plan; those that need no flow are in `offline`, exit codes in `arguments`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows import decide, environment, offline, operate
from flows.arguments import (
    EXCEPTIONS,
    EXIT_OF_VERDICT,
    FAILED,
    GOOD,
    USAGE,
    add_command,
    add_field,
    add_store,
    place,
    requested,
    require_ready,
    require_usable,
    run_files,
)
from flows.described import words
from flows.request import Excerpt, Planning, Request, Rerun


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parsed = parser().parse_args(arguments)
    environment.prepare("INFO" if parsed.verbose else "CRITICAL")
    from tasks.errors import UsageError
    from vsr_model.errors import ModelError

    try:
        command: Callable[[argparse.Namespace], int] = parsed.command
        return command(parsed)
    except (UsageError, ModelError) as error:
        print(f"remaster: {error}", file=sys.stderr)
        return USAGE
    except Exception as error:
        from tasks.errors import RemasterError

        if not isinstance(error, RemasterError):
            raise
        print(f"remaster: {error}", file=sys.stderr)
        return FAILED


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="remaster", description="Turn a library of videos into a library of upscaled masters."
    )
    top.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = add_command(commands, "run", _run, "remaster a file, a folder or an s3:// prefix")
    _add_request(run)
    add_field(run, Request, "force", "--force")
    add_field(run, Request, "new_only", "--new-only")

    plan = add_command(commands, "plan", _plan, "show what a run would do and what it would take, without doing it")
    add_field(plan, Planning, "library", metavar="LIBRARY")
    add_field(plan, Planning, "output", "--output", metavar="OUTPUT")
    add_field(plan, Planning, "store", "--store", metavar="URI")
    _add_profile(plan)
    add_field(plan, Planning, "workers", "--workers", metavar="N")
    plan.add_argument("--json", action="store_true", help="as JSON")

    preview = add_command(commands, "preview", _preview, "make a page on which to choose between networks")
    add_field(preview, Excerpt, "title", metavar="TITLE")
    add_field(preview, Excerpt, "at", "--at", metavar="H:MM:SS")
    add_field(preview, Excerpt, "seconds", "--seconds", metavar="S")
    add_field(preview, Excerpt, "models", "--models", metavar="A,B,...", action="store", type=_names)
    add_field(preview, Excerpt, "part", "--part", metavar="WxH")
    preview.add_argument(
        "--page", metavar="FILE", default="", help="to write (default: film.preview.html, here, for film.mp4)"
    )
    preview.add_argument("--profile", metavar="TOML", help="file of settings, or a built-in profile")
    _add_scale(preview)
    preview.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="any setting")

    rerun = add_command(commands, "rerun", _rerun, "do a run again: only what is missing or failed is worked on")
    add_field(rerun, Rerun, "run", metavar="RUN", nargs="?")
    add_store(rerun, words(Rerun, "store"), "where this user's run of that id was")
    add_field(rerun, Rerun, "workers", "--workers", metavar="N")
    add_field(rerun, Rerun, "ray_address", "--ray-address", metavar="ADDRESS")
    add_field(rerun, Rerun, "title", "--title", metavar="GLOB")
    add_field(rerun, Rerun, "shards", "--shard", metavar="N", type=int)
    add_field(rerun, Rerun, "reason", "--reason", metavar="TEXT")
    add_field(rerun, Rerun, "settings", "--with", metavar="NAME=VALUE")

    decide.add_commands(commands, _settings)
    operate.add_commands(commands, _add_request, _asked)
    offline.add_commands(commands)
    return top


def _add_request(command: argparse.ArgumentParser, settle: float = 0.0) -> None:
    """What every command that runs a library takes."""
    add_field(command, Request, "library", metavar="LIBRARY")
    add_field(command, Request, "output", metavar="OUTPUT")
    add_field(command, Request, "store", "--store", metavar="URI")
    _add_profile(command)
    add_field(command, Request, "workers", "--workers", metavar="N")
    add_field(command, Request, "ray_address", "--ray-address", metavar="ADDRESS")
    add_field(command, Request, "only", "--only", metavar="GLOB")
    add_field(command, Request, "settle", "--settle", metavar="SECONDS", default=settle)


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--profile",
        metavar="TOML",
        help="file of settings, or archive, broadcast, editing or web; the options below win over it",
    )
    command.add_argument(
        "--model", metavar="NAME", help="a network by name, or the path of a weights file (`remaster models`)"
    )
    _add_scale(command)
    command.add_argument(
        "--video-stream",
        metavar="N",
        help="which of several video streams: the longest (auto), the largest, the default, or a number",
    )
    command.add_argument(
        "--fps",
        metavar="N",
        help="pictures a second of numbered images, e.g. 24 or 24000/1001 (default: DPX's and EXR's)",
    )
    command.add_argument(
        "--hdr", choices=("keep", "tonemap"), help="masters of HDR sources stay HDR, or become SDR (default: keep)"
    )
    command.add_argument(
        "--encoder-option", metavar="KEY=VALUE", action="append", default=[], help="for the master's encoder, as it is"
    )
    command.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="any setting, e.g. master.codec=ffv1"
    )


def _add_scale(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--scale", metavar="N", type=_literal, help="factor on width and height, such as 2, 1.5 or 4/3 (1 to 4)"
    )


def _run(options: argparse.Namespace) -> int:
    from flows.run import new_run_id

    return _execute(_asked(options).model_copy(update={"id": new_run_id()}))


def _asked(options: argparse.Namespace) -> Any:
    """The run that a command line asks for, without an id."""
    from flows.run import Run

    return requested(Run, options, profile=_profile(options))


def _rerun(options: argparse.Namespace) -> int:
    from flows.rerun import again
    from flows.run import new_run_id
    from tasks.profile import with_settings

    asked = requested(Rerun, options, settings=_settings("--with", options.settings))
    run = again(run_files(asked.run, asked.store), new_run_id(), asked)
    for revision in run.revisions:
        require_usable(with_settings(run.profile, dict(revision.settings)))
    return _execute(run)


def _execute(run: Any) -> int:
    """Run the library flow with a display, and print where everything is."""
    require_usable(run.profile)
    require_ready(run)
    from flows.server import prefect_server

    with prefect_server():
        from flows.execute import execute

        verdict, report = execute(run)
    say = sys.stdout if verdict.state == "completed" else sys.stderr
    print(f"{verdict.state}: {verdict.message}", file=say)
    print(f"masters: {run.output}\nreport:  {report}\nrun:     {run.id}  (store {run.store})")
    return EXIT_OF_VERDICT[verdict.state]


def _plan(options: argparse.Namespace) -> int:
    import tempfile

    from flows.planning import keep, show_plan
    from flows.run import new_run_id
    from tasks.scan import require_outside
    from tasks.store import Store

    asked, profile = requested(Planning, options), _profile(options)
    with tempfile.TemporaryDirectory() as scratch:
        output = place(asked.output or scratch)
        lasting = asked.store or (f"{output}/.remaster" if asked.output else "")
        store = Store(place(lasting or scratch))
        require_outside(store.root, place(asked.library), "store")
        store.check_writable()
        rows, refused = show_plan(place(asked.library), Store(output), store, profile, asked.workers, options.json)
        kept = keep(rows, store, new_run_id()) if lasting else ""
        if kept and not options.json:
            print(f"kept: {kept}")
    return EXCEPTIONS if refused else GOOD


def _preview(options: argparse.Namespace) -> int:
    from flows.preview import write_preview
    from tasks.profile import read_profile

    asked = requested(Excerpt, options)
    asked = asked.model_copy(update={"models": [_lasting(model) for model in asked.models]})
    profile = read_profile(options.profile, {"scale": options.scale} | _settings("--set", options.set))
    _, whole = write_preview(asked, profile, options.page)
    return GOOD if whole else EXCEPTIONS


def _profile(options: argparse.Namespace) -> Any:
    from tasks.profile import read_profile

    overrides: dict[str, Any] = {
        "model": options.model,
        "scale": options.scale,
        "sequence.fps": options.fps,
        "hdr.mode": options.hdr,
    }
    if options.video_stream:
        overrides["video_stream"] = _literal(options.video_stream)
    for key, value in _pairs("--encoder-option", options.encoder_option, "KEY=VALUE, for instance tune=film").items():
        overrides[f"master.options.{key}"] = value
    profile = read_profile(options.profile, overrides | _settings("--set", options.set))
    profile = profile.model_copy(update={"model": _lasting(profile.model)})
    require_usable(profile)
    return profile


def _pairs(option: str, given: list[str], example: str) -> dict[str, str]:
    from tasks.errors import UsageError

    pairs = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"{option} {setting}: write it as {example}.")
        pairs[name.strip()] = value.strip()
    return pairs


def _settings(option: str, given: list[str]) -> dict[str, Any]:
    pairs = _pairs(option, given, "NAME=VALUE, for instance master.codec=ffv1")
    settings: dict[str, Any] = {name: _literal(value) for name, value in pairs.items()}
    if isinstance(settings.get("model"), str):
        settings["model"] = _lasting(settings["model"])
    return settings


def _lasting(model: str) -> str:
    """A network's name, or its file's in full: the run may be repeated from another folder."""
    from vsr_model.registry import is_path

    return str(Path(model).absolute()) if is_path(model) else model


def _literal(text: str) -> Any:
    """A value as TOML reads it; anything that is not TOML is a string."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
