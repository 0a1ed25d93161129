"""Whether a master's place in the output is ours to write: what lies there and was not made here is never replaced.

What was made here has its receipt beside it, or a note in the output's own folder: one is left before the first master
of a place appears, as a run may be killed between a master and its receipt.
"""

from __future__ import annotations

import json

from tasks.errors import UnsupportedSource
from tasks.receipt import receipt_place
from tasks.records import Title, content_key
from tasks.seal import sealed
from tasks.store import Store

# A hidden folder of the output, and the default place of the store.
OWN = ".remaster"


def require_ours(title: Title, output: Store) -> None:
    """Refuse a title whose master would replace a file that remaster did not make.

    Raises:
        UnsupportedSource: it would.
        StoreError: the output does not answer.
    """
    if not output.exists(title.master):
        return
    if not (output.exists(receipt_place(title.master)) or output.exists(_note(title, output))):
        raise UnsupportedSource(
            f"{title.name}: its master's place, {output.uri(title.master)}, is taken by a file that remaster did not"
            " make. Move that file, or choose another output."
        )


def claim_place(title: Title, output: Store) -> None:
    """Note that the place is ours from now on; raises what `require_ours` does."""
    require_ours(title, output)
    note = json.dumps({"place": output.uri(title.master)}, indent=1)
    output.write(_note(title, output), sealed(note.encode()))


def _note(title: Title, output: Store) -> str:
    return f"{OWN}/places/{content_key({'place': output.uri(title.master)})}"
