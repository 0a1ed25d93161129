"""What a person's decision does: an approved master is published with a receipt that says who; a rejected one is not.

To be called with the master's place to oneself (`tasks.finish.sole_publisher`). The decision is written down first:
whatever is cut off after that, the next run or the same command again carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from tasks.errors import StoreDamaged, UsageError
from tasks.finish import is_held, master_record, release_master
from tasks.hold import Decision, Hold, drop_hold, hold_place, write_hold
from tasks.receipt import Receipt, from_bytes, publish_receipt, review_lines, to_bytes
from tasks.records import MasterRecord, Revision
from tasks.signing import signer
from tasks.store import Store


def keep_receipt(receipt: Receipt, hold: Hold, store: Store) -> None:
    """Keep what the receipt of a held master will say, so that approving it needs neither source nor segments."""
    store.write(_receipt_place(hold), to_bytes(receipt))


def approve(hold: Hold, by: str, at: str, note: str, store: Store, commit: Callable[[], None]) -> tuple[Hold, str]:
    """Publish a held master as it is.

    Args:
        hold: that waits, or is approved and was not published to the end: who approved first counts.
        by: who approves.
        at: when, in UTC, ISO 8601.
        note: in their words.
        store: where the hold is.
        commit: called before anything appears; may raise to keep it from appearing.

    Returns:
        The hold as it is now, and the receipt's URI.

    Raises:
        UsageError: it does not wait, or its source has changed since.
        StoreDamaged: the master's bytes are gone or changed.
    """
    if hold.state not in ("waiting", "approved"):
        raise UsageError(f"{hold.title.name}: nothing waits to be approved: it is {hold.state}. {_last(hold)}")
    if not hold.source_stands():
        raise UsageError(
            f"{hold.title.name}: its source has changed or is gone since the master was made, so this one is not for it"
            " any more. Run the library again."
        )
    record, receipt = _kept(hold, store)
    if hold.state == "waiting":
        decision = Decision("approved", by, at, note, hold.sha256, accepted=hold.broken)
        hold = replace(hold, state="approved", decisions=(*hold.decisions, decision))
        commit()
        write_hold(hold, store)
    output = Store(hold.output)
    release_master(record, hold.title, store, output, commit)
    commit()
    certified = receipt.model_copy(update={"reviews": review_lines(hold.decisions)})
    return hold, publish_receipt(certified, output, signer())


def reject(
    hold: Hold, by: str, at: str, note: str, shards: Collection[int], revisions: Collection[Revision], store: Store
) -> Hold:
    """Have shards of a held master made otherwise by the next run; the others stay as they are.

    Args:
        hold: of any state: who approved may think better of it.
        by, at, note: see `approve`.
        shards: numbers of those that are rejected.
        revisions: all shards of the title that are to be made otherwise from now on.
        store: where the hold is.
    """
    rejected = tuple(hold.shards[number] for number in sorted(shards))
    decision = Decision("rejected", by, at, note, hold.sha256, shards=rejected)
    hold = replace(hold, state="rejected", revisions=tuple(revisions), decisions=(*hold.decisions, decision))
    write_hold(hold, store)
    return hold


def hold_again(hold: Hold, before: Hold | None, receipt: Receipt, store: Store) -> str:
    """Let a master wait for a person; one that waits already goes on waiting. Returns the URI of its hold.

    Args:
        hold: what was found now.
        before: what was kept of the same place, if anything; what was decided of the same source and settings is kept.
        receipt: what the master's will say.
        store: where holds are.
    """
    keep_receipt(receipt, hold, store)
    if before is not None and before.plan == hold.plan:
        if before.state == "waiting" and (before.seen, before.revisions) == (hold.seen, hold.revisions):
            also = replace(before, of_run=tuple(dict.fromkeys((*before.of_run, *hold.of_run))))
            if also != before:
                write_hold(also, store)
            return store.uri(hold_place(Store(hold.output).uri(hold.title.master)))
        hold = replace(hold, decisions=before.decisions)
    uri = write_hold(hold, store)
    if before is not None:
        _forget_master(before, hold.uri)
    return uri


def still_approved(hold: Hold, plan: str, store: Store) -> Hold:
    """An approved hold whose master came out the same, to the byte, of another plan: from now on it is of that one."""
    if hold.plan != plan:
        hold = replace(hold, plan=plan)
        write_hold(hold, store)
    return hold


def settle(before: Hold, plan: str, key: str, store: Store) -> None:
    """Note that a master was published in the place of a hold.

    Args:
        before: that hold.
        plan: of the title now: if it is another one, all that was decided is void.
        key: of the published master.
        store: where the hold is.
    """
    if before.state in ("approved", "settled") and before.key == key:
        return
    if before.plan == plan:
        write_hold(replace(before, state="settled", key=key, uri="", revisions=before.made_anew()), store)
    else:
        drop_hold(before, store)
    _forget_master(before, "")


def _forget_master(hold: Hold, but: str) -> None:
    """Remove the bytes that waited, if they are not these; what is published is nobody's to remove."""
    if is_held(hold.uri) and hold.uri != but:
        output = Store(hold.output)
        output.delete(hold.uri.removeprefix(f"{output.root}/"))


def _kept(hold: Hold, store: Store) -> tuple[MasterRecord, Receipt]:
    """What is kept of a held master, if all of it is of the same one."""
    again = "Run the library again: it is held back anew, and nothing is made twice but what is lost."
    record = master_record(hold.key, store)
    if record is None or record.sha256 != hold.sha256:
        raise StoreDamaged(f"{hold.title.name}: the record of the master that waits is gone. {again}")
    try:
        receipt = from_bytes(store.read(_receipt_place(hold)))
    except (FileNotFoundError, ValueError) as error:
        raise StoreDamaged(f"{hold.title.name}: what its receipt was to say is lost ({error}). {again}") from error
    if receipt.master.sha256 != hold.sha256:
        raise StoreDamaged(f"{hold.title.name}: what its receipt was to say is of another master. {again}")
    return record, receipt


def _receipt_place(hold: Hold) -> str:
    return hold_place(Store(hold.output).uri(hold.title.master), "receipt.json")


def _last(hold: Hold) -> str:
    return f"It was {hold.decisions[-1].words}." if hold.decisions else ""
