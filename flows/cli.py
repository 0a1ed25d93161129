"""The `remaster` command: parses, starts the flow, prints. Prefect and Ray are imported only where they are needed.

Exit codes: 0 all good, 1 failed, 2 wrong usage, 3 finished with exceptions.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows import environment

GOOD, FAILED, USAGE, EXCEPTIONS = 0, 1, 2, 3
_EXIT = {"completed": GOOD, "failed": FAILED, "exceptions": EXCEPTIONS, "stopped": EXCEPTIONS}


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

    run = _command(commands, "run", _run, "remaster a file, a folder or an s3:// prefix")
    run.add_argument("library", metavar="LIBRARY", help="file, folder (recursive) or s3://bucket/prefix")
    run.add_argument("output", metavar="OUTPUT", help="folder or s3://bucket/prefix for the masters")
    _add_store(run, "where segments and records are kept (default: OUTPUT/.remaster)")
    _add_profile(run)
    _add_workers(run)
    run.add_argument("--only", metavar="GLOB", default="", help="only titles whose names match, e.g. 'season1/*.mkv'")
    run.add_argument("--force", action="store_true", help="redo shards that are done already")

    plan = _command(commands, "plan", _plan, "show what a run would do, without doing it")
    plan.add_argument("library", metavar="LIBRARY")
    plan.add_argument("--output", metavar="OUTPUT", default="", help="as for run; settles where masters would go")
    _add_store(plan, "where frame tables are kept (default: a folder for the time of the command)")
    _add_profile(plan)

    status = _command(commands, "status", _status, "how a run stands, read from its store alone")
    status.add_argument("run", metavar="RUN", nargs="?", default="", help="id of the run (default: the latest)")
    _add_store(status, "the run's store (default: where this user's run of that id was)")

    rerun = _command(commands, "rerun", _rerun, "do a run again: only what is missing or failed is worked on")
    rerun.add_argument("run", metavar="RUN", help="id of the run")
    _add_store(rerun, "the run's store (default: where this user's run of that id was)")
    _add_workers(rerun)

    _command(commands, "models", _models, "list the networks")

    bench = _command(commands, "bench", _bench, "time a network by itself; prints one line of JSON")
    bench.add_argument("--model", metavar="NAME", default="swift", help="network by name or a weights file")
    bench.add_argument("--size", metavar="HxW", default="192x352", help="rows and columns of a source frame")
    bench.add_argument("--scale", metavar="N", type=int, default=4)
    bench.add_argument("--chunks", metavar="N", type=int, default=4, help="of 8 frames, timed after it has settled")
    bench.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    bench.add_argument("--random-weights", action="store_true", help="a FlashVSR mode without its weights")

    weights = _command(commands, "weights", _weights, "install the weights of a network that brings none")
    weights.add_argument("verb", choices=("import",))
    weights.add_argument("version", metavar="VERSION", help="flashvsr-v1.1 or flashvsr-v1")
    weights.add_argument("folder", metavar="FOLDER", type=Path, help="where its published files are")

    probe = _command(commands, "probe", _probe, "say what a video file is")
    probe.add_argument("file", metavar="FILE")
    probe.add_argument("--json", action="store_true", help="as JSON")

    score = _command(commands, "score", _score, "measure how near a video is to a reference of the same size")
    score.add_argument("reference", metavar="REFERENCE", help="the truth, e.g. what a source was reduced from")
    score.add_argument("result", metavar="RESULT", help="what is judged, e.g. a master")
    score.add_argument("--json", action="store_true", help="as JSON")
    return top


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    command.set_defaults(command=function)
    return command


def _add_store(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--store", metavar="URI", default=os.environ.get("REMASTER_STORE", ""), help=text)


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", metavar="TOML", help="file of settings; the options below win over it")
    command.add_argument("--model", metavar="NAME", help="network by name (`remaster models`) or a weights file")
    command.add_argument("--scale", metavar="N", type=int, help="factor on width and height: 1 to 4")
    command.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="any setting, e.g. master.codec=ffv1"
    )


def _add_workers(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", metavar="N", type=int, default=0, help="actors (default: one a GPU, or one)")
    command.add_argument(
        "--ray-address", metavar="ADDRESS", default=os.environ.get("RAY_ADDRESS", ""), help="of a Ray cluster to join"
    )


def _run(options: argparse.Namespace) -> int:
    from flows.run import Run, new_run_id

    library, output = _place(options.library), _place(options.output)
    run = Run(
        id=new_run_id(),
        library=library,
        output=output,
        store=_place(options.store or f"{output}/.remaster"),
        profile=_profile(options),
        workers=_worker_count(options),
        ray_address=options.ray_address,
        only=options.only,
        force=options.force,
    )
    return _execute(run)


def _rerun(options: argparse.Namespace) -> int:
    from flows.run import new_run_id

    before = _files(options.run, options.store).read_run()
    changes: dict[str, Any] = {"id": new_run_id(), "rerun_of": before.id, "force": False}
    if options.workers:
        changes["workers"] = _worker_count(options)
    if options.ray_address:
        changes["ray_address"] = options.ray_address
    return _execute(before.model_copy(update=changes))


def _execute(run: Any) -> int:
    """Run the library flow with a display, and print where everything is."""
    if not run.ray_address:
        environment.keep_ray_on_loopback()
    _require_usable(run.profile)
    from tasks.scan import require_outside

    require_outside(run.output, run.library, "output")
    require_outside(run.store, run.library, "store")
    from flows.server import prefect_server

    with prefect_server():
        from flows.execute import execute

        verdict, report = execute(run)
    say = sys.stdout if verdict.state == "completed" else sys.stderr
    print(f"{verdict.state}: {verdict.message}", file=say)
    print(f"masters: {run.output}\nreport:  {report}\nrun:     {run.id}  (store {run.store})")
    return _EXIT[verdict.state]


def _plan(options: argparse.Namespace) -> int:
    import tempfile

    from tasks.errors import RemasterError
    from tasks.plan import plan_title
    from tasks.scan import scan
    from tasks.store import Store

    profile = _profile(options)
    library = _place(options.library)
    refused = 0
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(_place(options.store or scratch))
        for title in scan(library, _place(options.output or scratch), profile):
            if not title.refused:
                try:
                    plan = plan_title(title, profile, store)
                except RemasterError as error:
                    print(f"{title.name}\n  refused: {error}")
                    refused += 1
                    continue
                print(f"{title.name}  ->  {title.master}\n  {len(plan.timeline)} frames in {len(plan.shards)} shards")
                for shard in plan.shards:
                    warm = f", {shard.warm_up} warm-up frames" if shard.warm_up else ""
                    print(f"    [{shard.start},{shard.stop})  starts at {shard.cut}{warm}")
            else:
                print(f"{title.name}\n  refused: {title.refused}")
                refused += 1
            for remark in title.remarks:
                print(f"  note: {remark}")
    return EXCEPTIONS if refused else GOOD


def _status(options: argparse.Namespace) -> int:
    from flows.status import describe

    files = _files(options.run, options.store)
    print(describe(files))
    verdict = files.read_verdict()
    return GOOD if verdict is None else _EXIT[verdict.state]


def _models(options: argparse.Namespace) -> int:
    from vsr_model.registry import states

    rows, silent = states()
    for entry, state in rows:
        scales = ", ".join(f"x{scale}" for scale in entry.info.scales)
        print(f"{entry.info.name:<18} {scales:<28} {entry.info.summary}{f'  ({state})' if state else ''}")
    print("any single-image network file that spandrel can load: --model path/to/file.safetensors", flush=True)
    if silent:
        raise silent
    return GOOD


def _bench(options: argparse.Namespace) -> int:
    import json
    import re
    from dataclasses import asdict

    from tasks.errors import UsageError
    from vsr_model.measure import measure
    from vsr_model.registry import load_for_measuring

    size = re.fullmatch(r"(\d+)x(\d+)", options.size)
    if size is None or min(map(int, size.groups())) < 1 or options.chunks < 1:
        raise UsageError(f"--size {options.size} --chunks {options.chunks}: ask for instance for 192x352 and 4.")
    upscaler = load_for_measuring(options.model, options.precision, options.random_weights)
    height, width = map(int, size.groups())
    print(json.dumps(asdict(measure(upscaler, height, width, options.scale, options.chunks))))
    return GOOD


def _weights(options: argparse.Namespace) -> int:
    from tasks.errors import UsageError
    from vsr_model.flashvsr.models import RULES, install
    from vsr_model.flashvsr.weights import place_of

    if options.version not in RULES:
        raise UsageError(f"{options.version}: weights are known of {' and '.join(RULES)}.")
    manifest = install(options.version, options.folder)
    print(f"{manifest.version}: installed in {place_of(manifest.version)}, hash {manifest.weights_hash[:16]}")
    return GOOD


def _probe(options: argparse.Namespace) -> int:
    from tasks.media.probe import probe
    from tasks.records import to_json
    from tasks.sources import open_source

    with open_source(_file(options.file), options.file) as source:
        found = probe(source)
    if options.json:
        print(to_json(found).decode())
        return GOOD
    print(f"{options.file}: {found.container}, {found.duration:.2f} s, {found.chapters} chapters")
    for stream in found.streams:
        chosen = "  <- the picture" if stream.index == found.stream else ""
        print(f"  {stream.index} {stream.type:<10} {stream.codec:<12} {stream.language:<4} {stream.detail}{chosen}")
    colour = found.colour
    guessed = " (assumed from its size)" if colour.assumed else ""
    count = found.frames or "unknown until planned"
    print(f"  frames  {count}, {float(found.frame_rate):.3f}/s, ticks {found.time_base} s")
    swing = "full" if colour.full_range else "limited"
    tags = f"matrix {colour.matrix}, primaries {colour.primaries}, transfer {colour.transfer}"
    print(f"  colour  {tags}, {swing} range, {found.layout.depth} bits{guessed}")
    if found.unsupported:
        print(f"  not handled: {found.unsupported}")
        return FAILED
    return GOOD


def _score(options: argparse.Namespace) -> int:
    from tasks.quality.score import LPIPS_EVERY, score
    from tasks.records import to_json
    from tasks.sources import open_source

    with (
        open_source(_file(options.reference), options.reference) as reference,
        open_source(_file(options.result), options.result) as result,
    ):
        found = score(reference, result)
    if options.json:
        print(to_json(found).decode())
        return GOOD
    print(f"{found.frames} frames, means")
    print(f"  PSNR-Y     {found.psnr_y:.2f} dB\n  SSIM-Y     {found.ssim_y:.4f}")
    print(f"  VMAF       {found.vmaf:.2f}\n  VMAF-NEG   {found.vmaf_neg:.2f}")
    missing = "not installed, see docs/quality.md"
    every = f"every {LPIPS_EVERY}th frame; 0 is the same"
    print(f"  LPIPS      {missing if found.lpips is None else f'{found.lpips:.4f}  ({every})'}")
    own = f"(the reference's own: {found.flicker_of_reference})"
    if found.frames == 1:
        missing = "takes two frames"
    print(f"  flicker    {missing if found.flicker is None else f'{found.flicker:.4f}  {own}'}")
    return GOOD


def _file(name: str) -> str:
    """The URI of a file that exists."""
    from tasks.errors import UsageError
    from tasks.store import stat

    uri = _place(name)
    try:
        stat(uri)
    except FileNotFoundError as error:
        raise UsageError(f"{name}: no such file. Check the path (quote names with spaces).") from error
    return uri


def _place(name: str) -> str:
    """A normalised URI that records, tables and the server can hold."""
    from tasks.errors import UsageError
    from tasks.store import normalise

    try:
        name.encode()
    except UnicodeEncodeError as error:
        readable = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise UsageError(f"{readable}: its name is not valid UTF-8; rename it, or make a link to it.") from error
    return normalise(name)


def _profile(options: argparse.Namespace) -> Any:
    from tasks.errors import UsageError
    from tasks.profile import read_profile

    overrides: dict[str, Any] = {"model": options.model, "scale": options.scale}
    for setting in options.set:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write it as NAME=VALUE, for instance master.codec=ffv1.")
        overrides[name.strip()] = _literal(value.strip())
    profile = read_profile(options.profile, overrides)
    from vsr_model.registry import is_path

    if is_path(profile.model):
        # The run may be repeated from another folder.
        profile = profile.model_copy(update={"model": str(Path(profile.model).absolute())})
    _require_usable(profile)
    return profile


def _require_usable(profile: Any) -> None:
    """Refuse a network that is not installed, or a factor it does not have, before anything is started."""
    from tasks.errors import UsageError
    from vsr_model.registry import find

    entry = find(profile.model)
    missing = entry.missing() if entry.missing else ""
    if missing:
        raise UsageError(f"{profile.model}: its weights are not installed: {missing}.")
    if profile.scale not in entry.info.scales:
        can = ", ".join(str(s) for s in entry.info.scales)
        raise UsageError(
            f"scale {profile.scale}: {entry.info.name} produces {can}. Choose one of these, or another model."
        )


def _literal(text: str) -> Any:
    """A value as TOML reads it; anything that is not TOML is a string."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _worker_count(options: argparse.Namespace) -> int:
    from tasks.errors import UsageError

    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}: ask for at least one, or leave it out.")
    return int(options.workers)


def _files(run_id: str, store: str) -> Any:
    from flows.known import find_store
    from flows.run import RunFiles, list_runs
    from tasks.errors import UsageError
    from tasks.store import Store

    place = Store(_place(store)) if store else find_store(run_id)
    runs = list_runs(place)
    wanted = run_id or (runs[-1] if runs else "")
    if wanted not in runs:
        known = f"It knows {', '.join(runs[-5:])}." if runs else "It knows none."
        raise UsageError(f"run {wanted or 'latest'}: store {place.root} does not know it. {known}")
    return RunFiles(place, wanted)


if __name__ == "__main__":
    sys.exit(main())
