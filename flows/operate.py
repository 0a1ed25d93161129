"""The commands that keep a library remastered: as deployments of a Prefect server, or watched by one process alone."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from flows.arguments import GOOD, add_command, add_field, requested, require_ready
from flows.request import Watching

# Programs that copy write at least every few seconds, and networks pause.
SETTLE = 60.0

# What trying again would not change: it takes a person, or another file.
_ENDS = ("done", "check", "held", "refused")

AddRequest = Callable[[argparse.ArgumentParser, float], None]
Asked = Callable[[argparse.Namespace], Any]


def add_commands(commands: Any, add_request: AddRequest, asked: Asked) -> None:
    """Add them to the command line.

    Args:
        commands: of the command line.
        add_request: adds the arguments of a run, with the default of `--settle`.
        asked: the run that a command line asks for.
    """
    serve = add_command(
        commands, "serve", lambda given: _serve(asked(given), given), "run a library's flows when Prefect starts them"
    )
    deploy = add_command(
        commands,
        "deploy",
        lambda given: _deploy(asked(given), given),
        "have the workers of a pool run a library's flows",
    )
    for command in (serve, deploy):
        add_request(command, SETTLE)
        command.add_argument(
            "--cron",
            metavar="CRON",
            default="",
            help="when the nightly run begins, e.g. '0 2 * * *' (default: when asked)",
        )
        command.add_argument("--timezone", metavar="ZONE", default="UTC", help="of --cron, e.g. Europe/Berlin")
        command.add_argument(
            "--name", metavar="NAME", default="", help="of the library in Prefect (default: the last part of LIBRARY)"
        )
        command.add_argument(
            "--notify",
            metavar="TYPE/NAME",
            default="",
            help="notification block of Prefect to tell of runs that fail or are out of budget, e.g. slack-webhook/ops",
        )
        command.set_defaults(new_only=True)
    deploy.add_argument("--pool", metavar="NAME", required=True, help="work pool: its workers have this package")
    watch = add_command(
        commands,
        "watch",
        lambda given: _watch(asked(given), given),
        "remaster what comes into a library once it lies still",
    )
    add_request(watch, SETTLE)
    add_field(watch, Watching, "every", "--every", metavar="SECONDS")
    watch.set_defaults(new_only=True)


def _serve(run: Any, given: argparse.Namespace) -> int:
    require_ready(run)
    from prefect import serve

    from flows.automations import ready
    from flows.server import lasting_server

    found = _deployments(run, given)
    with lasting_server():
        _say_what_is_replaced(found, run.library)
        ready(given.notify)
        # One at a time: the GPUs of one machine are one run's.
        serve(*found, limit=1)
    return GOOD


def _deploy(run: Any, given: argparse.Namespace) -> int:
    require_ready(run)
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    from flows.automations import ready
    from flows.deployments import for_pool
    from flows.server import lasting_server
    from tasks.errors import UsageError

    found = _deployments(run, given)
    with lasting_server(), get_client(sync_client=True) as client:
        try:
            client.read_work_pool(given.pool)
        except ObjectNotFound as error:
            raise UsageError(
                f"--pool {given.pool}: Prefect's server knows no such work pool. Make it, for instance by"
                f" `prefect work-pool create {given.pool} --type process`."
            ) from error
        _say_what_is_replaced(found, run.library)
        ready(given.notify)
        for deployment in found:
            for_pool(deployment, given.pool).apply()
            print(f"{deployment.flow_name}/{deployment.name}")
    return GOOD


def _say_what_is_replaced(deployments: list[Any], library: str) -> None:
    """Warn if deployments of these names were those of another library; there is one of a name."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        for deployment in deployments:
            try:
                known = client.read_deployment_by_name(f"{deployment.flow_name}/{deployment.name}")
            except ObjectNotFound:
                continue
            before = (known.parameters.get("run") or {}).get("library")
            if before and before != library:
                print(
                    f"{deployment.name} was of {before}, and is of {library} from now on: to have both, give one of"
                    " them another --name.",
                    file=sys.stderr,
                )


def _deployments(run: Any, given: argparse.Namespace) -> list[Any]:
    from flows.deployments import deployments
    from tasks.errors import UsageError

    try:
        return deployments(run, given.cron, given.timezone, given.name)
    except ValueError as error:
        raise UsageError(f"--cron {given.cron!r} --timezone {given.timezone}: {error}") from error


def _watch(run: Any, given: argparse.Namespace) -> int:
    every = requested(Watching, given).every
    require_ready(run)
    from flows.stopping import is_draining
    from flows.watching import Watched

    watched = Watched(run.library, run.settle, run.only, run.profile.sequence.rate(), every)
    watched.new()  # what is wrong from the start is said at once
    print(f"watching {run.library}: Ctrl-C ends it", file=sys.stderr, flush=True)
    try:
        wrong = _look(run, watched)
        while not is_draining():
            time.sleep(every)
            wrong = _look(run, watched, wrong)
    except KeyboardInterrupt:
        pass
    return GOOD


def _look(run: Any, watched: Any, known: str = "") -> str:
    """Remaster what is new, if anything is; returns what is wrong, and says so unless it is known."""
    from flows.server import prefect_server
    from tasks.errors import RemasterError
    from tasks.store import Store

    try:
        new = watched.new()
        if new:
            Store(run.store).check_writable()
            with prefect_server():  # one for each run, so that none has to live for as long as this watches
                _remaster(run, new, watched)
    except RemasterError as error:  # the library, the store or Prefect's server is away: it is looked at again
        if str(error) != known:
            print(f"remaster: still watching, but {error}", file=sys.stderr, flush=True)
        return str(error)
    return ""


def _remaster(run: Any, new: list[str], watched: Any) -> None:
    from flows.execute import execute
    from flows.run import RunFiles, new_run_id
    from flows.stopping import is_draining
    from flows.watching import A_DAY
    from tasks.store import Store

    print(f"new: {', '.join(new)}", flush=True)
    asked = run.model_copy(update={"id": new_run_id()})
    ended: set[str] = set()
    try:
        verdict, report = execute(asked)
        outcomes = RunFiles(Store(run.store), asked.id).read_outcomes()
        ended = {outcome.title for outcome in outcomes if outcome.state in _ENDS}
    finally:  # a run that comes to nothing is not begun again at each look
        watched.take(ended)
    print(f"{verdict.state}: {verdict.message}\nreport:  {report}", flush=True)
    if verdict.state == "stopped" and not is_draining():  # by its budget
        watched.rest(A_DAY)
        print("nothing more is begun for a day; `remaster rerun` goes on now", flush=True)
