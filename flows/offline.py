"""The commands that need neither Prefect nor Ray: what they take, and what they print. Each imports what it needs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from flows.arguments import (
    EXIT_OF_VERDICT,
    FAILED,
    GOOD,
    add_command,
    add_field,
    add_store,
    file_uri,
    place,
    requested,
    run_files,
)
from flows.request import Cleaning


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    status = add_command(commands, "status", _status, "how a run stands, read from its store alone")
    status.add_argument("run", metavar="RUN", nargs="?", default="", help="id of the run (default: the latest)")
    add_store(status, "the run's store", "where this user's run of that id was")
    status.add_argument("--watch", action="store_true", help="go on showing it until the run has ended")

    add_command(commands, "models", _models, "list the networks")

    bench = add_command(commands, "bench", _bench, "time a network by itself; prints one line of JSON")
    bench.add_argument(
        "--model", metavar="NAME", default="swift", help="network by name or a weights file (default: swift)"
    )
    bench.add_argument(
        "--size", metavar="HxW", default="192x352", help="rows and columns of a source frame (default: 192x352)"
    )
    bench.add_argument(
        "--scale", metavar="N", default="4", help="factor on width and height, such as 2, 1.5 or 4/3 (default: 4)"
    )
    bench.add_argument(
        "--chunks", metavar="N", type=int, default=4, help="of 8 frames, timed after it has settled (default: 4)"
    )
    precisions = ("auto", "float32", "bfloat16", "float16")
    bench.add_argument("--precision", default="auto", choices=precisions, help="of its arithmetic (default: auto)")
    bench.add_argument("--random-weights", action="store_true", help="a FlashVSR mode without its weights")

    weights = add_command(commands, "weights", _weights, "install the weights of a network that brings none")
    weights.add_argument("verb", choices=("import",), help="what to do with them")
    weights.add_argument("version", metavar="VERSION", help="flashvsr-v1.1 or flashvsr-v1")
    weights.add_argument("folder", metavar="FOLDER", type=Path, help="where its published files are")

    probe = add_command(commands, "probe", _probe, "say what a video file is")
    probe.add_argument("files", metavar="FILE", nargs="+")
    probe.add_argument(
        "--compare", action="store_true", help="hold a master against its source: the first FILE is the source"
    )
    probe.add_argument(
        "--profile", metavar="TOML", help="of the master, with --compare: what that leaves out by choice is no loss"
    )
    probe.add_argument("--video-stream", metavar="N", default="auto", help="which of several, as for run")
    probe.add_argument("--json", action="store_true", help="as JSON")

    score = add_command(commands, "score", _score, "measure how near a video is to a reference of the same size")
    score.add_argument("reference", metavar="REFERENCE", help="the truth, e.g. what a source was reduced from")
    score.add_argument("result", metavar="RESULT", help="what is judged, e.g. a master")
    score.add_argument("--json", action="store_true", help="as JSON")

    verify = add_command(
        commands, "verify", _verify, "hold masters against their receipts, segments against their records"
    )
    verify.add_argument("paths", metavar="PATH", nargs="+", help="a master, a folder or bucket of masters, or a store")
    verify.add_argument("--key", metavar="PEM", default="", help="public key that every receipt must be signed by")
    verify.add_argument("--json", action="store_true", help="every finding as a line of JSON")

    clean = add_command(commands, "clean", _clean, "show what a store holds that no run speaks of any more")
    add_field(clean, Cleaning, "store", metavar="STORE")
    add_field(clean, Cleaning, "yes", "--yes")
    add_field(clean, Cleaning, "cut_off", "--cut-off", metavar="RUN")


def _status(options: argparse.Namespace) -> int:
    from rich.console import Console

    from flows.status import describe, watch

    files = run_files(options.run, options.store)
    if options.watch:
        return EXIT_OF_VERDICT[watch(files, Console()).state]
    print(describe(files))
    verdict = files.read_verdict()
    return GOOD if verdict is None else EXIT_OF_VERDICT[verdict.state]


def _models(options: argparse.Namespace) -> int:
    from vsr_model.registry import states

    rows, silent = states()
    for entry, state in rows:
        scales = ", ".join(f"x{scale}" for scale in entry.info.scales)
        print(f"{entry.info.name:<18} {scales:<28} {entry.info.summary}{f'  ({state})' if state else ''}")
    print("whatever lies between 1 and the largest of its scales, such as x1.5, a network makes too")
    print("any single-image network file that spandrel can load: --model path/to/file.safetensors", flush=True)
    if silent:
        raise silent
    return GOOD


def _bench(options: argparse.Namespace) -> int:
    import json
    import re
    from dataclasses import asdict
    from fractions import Fraction

    from tasks.errors import UsageError
    from tasks.media.picture.size import exact_scale
    from vsr_model.measure import measure
    from vsr_model.registry import load_for_measuring

    size = re.fullmatch(r"(\d+)x(\d+)", options.size)
    if size is None or min(map(int, size.groups())) < 1 or options.chunks < 1:
        raise UsageError(f"--size {options.size} --chunks {options.chunks}: ask for instance for 192x352 and 4.")
    try:
        scale = Fraction(exact_scale(options.scale))
    except ValueError as error:
        raise UsageError(f"--scale: {error}.") from error
    upscaler = load_for_measuring(options.model, options.precision, options.random_weights)
    height, width = map(int, size.groups())
    print(json.dumps(asdict(measure(upscaler, height, width, scale, options.chunks))))
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
    from tasks.errors import UsageError
    from tasks.media.picture.hdr import is_hdr
    from tasks.media.reading.probe import probe
    from tasks.records import to_json
    from tasks.sources import open_source
    from vsr_model.nits import TRANSFERS

    if options.compare:
        return _compare(options)
    if len(options.files) > 1:
        raise UsageError("probe takes one file; to hold a master against its source, add --compare.")
    (name,) = options.files
    with open_source(file_uri(name), name) as source:
        found = probe(source, _choice(options))
    if options.json:
        print(to_json(found).decode())
        return GOOD
    print(f"{name}: {found.container}, {found.duration:.2f} s, {found.chapters} chapters")
    for stream in found.streams:
        chosen = "  <- the picture" if stream.index == found.stream else ""
        print(f"  {stream.index} {stream.type:<10} {stream.codec:<12} {stream.language:<4} {stream.detail}{chosen}")
    colour = found.colour
    guessed = " (assumed from its size)" if colour.assumed else ""
    count = found.frames or "unknown until planned"
    print(f"  frames  {count}, {float(found.frame_rate):.3f}/s, ticks {found.time_base} s")
    swing = "full" if colour.full_range else "limited"
    tags = f"matrix {colour.matrix}, primaries {colour.primaries}, transfer {colour.transfer}"
    alpha = ", alpha" * found.layout.alpha
    print(f"  colour  {tags}, {swing} range, {found.layout.depth} bits{alpha}{guessed}")
    if found.layout.chroma_x or found.layout.chroma_y:
        print(f"  chroma  {found.layout.pix_fmt}, siting {colour.siting}")
    if is_hdr(colour):
        dynamic = ["HDR10+"] * found.hdr10_plus + ["Dolby Vision"] * found.dolby_vision
        said = [found.mastering.words] if found.mastering else []
        print(f"  hdr     {', '.join([TRANSFERS[colour.transfer], *said, *dynamic])}")
    if found.unsupported:
        print(f"  not handled: {found.unsupported}")
        return FAILED
    return GOOD


def _choice(options: argparse.Namespace) -> Any:
    from tasks.errors import UsageError

    chosen = options.video_stream
    if chosen.isdecimal():
        return int(chosen)
    if chosen not in {"auto", "largest", "default"}:
        raise UsageError(f"--video-stream {chosen}: ask for auto, largest, default, or a number.")
    return chosen


def _compare(options: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from tasks.errors import UsageError
    from tasks.media.contract.contract import compare
    from tasks.profile import read_profile
    from tasks.sources import open_source

    if len(options.files) != 2:
        raise UsageError("--compare takes two files, first the source and then its master.")
    one, other = options.files
    with open_source(file_uri(one), one) as source, open_source(file_uri(other), other) as master:
        asked = read_profile(options.profile, {}).master.encoding() if options.profile else None
        rows = compare(source, master, _choice(options), asked)
    lost = sum(row.verdict == "lost" for row in rows)
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return FAILED if lost else GOOD
    widths = [
        max(len(cell) for cell in column) for column in zip(*((r.name, r.source, r.master) for r in rows), strict=True)
    ]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip((row.name, row.source, row.master), widths, strict=True))
        print(f"{row.verdict:<8}{'  '.join(cells)}  {row.note}".rstrip())
    print(f"{len(rows)} rows, {f'{lost} lost' if lost else 'nothing lost'}")
    return FAILED if lost else GOOD


def _score(options: argparse.Namespace) -> int:
    from tasks.quality.score import LPIPS_EVERY, score
    from tasks.records import to_json
    from tasks.sources import open_source

    with (
        open_source(file_uri(options.reference), options.reference) as reference,
        open_source(file_uri(options.result), options.result) as result,
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
    if found.flicker is None or found.flicker_of_reference is None:
        print(f"  flicker    {'takes two frames' if found.frames == 1 else missing}")
    else:
        print(f"  flicker    {found.flicker:.4f}  (the reference's own: {found.flicker_of_reference:.4f})")
    return GOOD


def _verify(options: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from flows.references import read_references
    from tasks.signing import read_public_key
    from tasks.store import Store
    from tasks.verify import is_store, verify

    key = read_public_key(options.key) if options.key else ""
    checked = wrong = 0
    for uri in map(place, options.paths):
        store = is_store(uri)
        for finding in verify(uri, key, read_references(Store(uri)).shards if store else {}):
            checked += 1
            wrong += not finding.ok
            if options.json:
                print(json.dumps(asdict(finding)), flush=True)
            elif not finding.ok:
                print(f"{finding.place}\n  {finding.seen}\n  {finding.remedy}", flush=True)
            elif not store:  # whose files are many, and none has a story to tell
                print(f"{finding.place}\n  {finding.seen}", flush=True)
    if not options.json:
        print(f"{checked} checked, {f'{wrong} not as they should be' if wrong else 'all as they should be'}")
    return FAILED if wrong else GOOD


def _clean(options: argparse.Namespace) -> int:
    from flows.references import needed_shards
    from tasks.clean import find_waste, remove_waste
    from tasks.store import Store

    asked = requested(Cleaning, options)
    store = Store(place(asked.store))
    waste = find_waste(store, needed_shards(store, asked.cut_off))
    for name in (*waste.shards, *waste.replaced, *waste.temporaries):
        print(f"{waste.sizes[name]:>14,}  {store.uri(name)}")
    files = len(waste.sizes)
    print(f"{files} files, {waste.bytes:,} bytes; {waste.kept} files are spoken of by runs and stay", end="")
    print(f"; {len(waste.unknown)} are of no known kind and stay" if waste.unknown else "")
    if not files:
        return GOOD
    if not asked.yes:
        print("nothing was removed: --yes removes them")
        return GOOD
    print(f"removed {remove_waste(store, waste, lambda: needed_shards(store, asked.cut_off)):,} bytes")
    return GOOD
