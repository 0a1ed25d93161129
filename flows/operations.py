"""What a person starts beside runs, as flows: a preview of a title, doing a run again, cleaning up."""

# No postponed annotations: a deployed flow goes to its process without the names that only annotations speak of.

import json
import posixpath
from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.arguments import file_uri, place
from flows.library import remaster_library
from flows.preview import compare
from flows.references import needed_shards
from flows.request import Cleaning, Preview, Rerun
from flows.rerun import again
from flows.run import RunFiles, list_runs, new_run_id
from flows.surfaces import board, put, show_preview
from tasks.clean import find_waste, remove_waste
from tasks.comparison_page import comparison_page, strip
from tasks.errors import UsageError
from tasks.profile import Profile
from tasks.seal import sealed_page
from tasks.store import Store

_SHOWN = 500


@flow(name="remaster rerun", log_prints=False)
def remaster_rerun(rerun: Rerun) -> State[Any]:
    """Do a run again: only what is missing, failed or rejected is worked on. Ends as that run ends.

    Args:
        rerun: which run, and what is to be otherwise.
    """
    store = Store(place(rerun.store))
    runs = list_runs(store)
    wanted = rerun.run or (runs[-1] if runs else "")
    if wanted not in runs:
        known = f"It knows {', '.join(runs[-5:])}." if runs else "It knows none."
        raise UsageError(f"run {wanted or 'latest'}: store {store.root} does not know it. {known}")
    run = again(RunFiles(store, wanted), new_run_id(), rerun)
    get_run_logger().info("run %s does run %s again", run.id, wanted)
    state: State[Any] = remaster_library(run, return_state=True)
    # A state that is merely handed on loses its words.
    return State(type=state.type, name=state.name, message=state.message)


@flow(name="remaster preview", log_prints=False)
def remaster_preview(preview: Preview, profile: Profile) -> State[Any]:
    """Make a page on which to choose between networks, and show the middle of it in Prefect.

    It is made here, by this process: on its GPU if there is one. Ends Completed; or Failed, in a state called
    "Exceptions", if a network could not be used, which the page names.

    Args:
        preview: which part of which title, by which networks.
        profile: settings of all of them but for the network.
    """
    store = Store(place(preview.store))
    store.check_writable()
    found = compare(preview, profile)
    key = f"previews/{datetime.now(UTC):%Y%m%d-%H%M%S}-{posixpath.basename(file_uri(preview.title))}.html"
    store.write(key, sealed_page(comparison_page(found)))
    with board():
        show_preview(found, strip(found), store.uri(key))
    if found.left_out:
        why = "; ".join(f"{model}: {reason}" for model, reason in found.left_out)
        return Failed(name="Exceptions", message=f"{store.uri(key)} is without {why}")
    return Completed(message=store.uri(key))


@flow(name="remaster clean", log_prints=False)
def remaster_clean(cleaning: Cleaning) -> State[Any]:
    """Show, or remove, what a store holds that no run speaks of any more.

    Fails where it is not certain what is needed, for instance as long as a run goes on.

    Args:
        cleaning: of which store, and whether to remove anything.
    """
    store = Store(place(cleaning.store))
    waste = find_waste(store, needed_shards(store, cleaning.cut_off))
    names = (*waste.shards, *waste.replaced, *waste.temporaries)
    if names:
        rows = [{"file": store.uri(name), "bytes": waste.sizes[name]} for name in names[:_SHOWN]]
        put("table", "clean", json.dumps(rows), f"{len(names)} files, {waste.bytes:,} bytes")
    if not cleaning.yes or not names:
        return Completed(message=f"{len(names)} files, {waste.bytes:,} bytes can go; nothing was removed")
    removed = remove_waste(store, waste, lambda: needed_shards(store, cleaning.cut_off))
    return Completed(message=f"removed {removed:,} bytes")
