"""Masters that stand: made as they are asked for now, and neither they nor their sources changed since.

By sizes and stamps, without opening a file, so that a night over a library of which little is new is short. It takes
the store's word for what the bytes were when they were last looked at; `remaster verify` reads them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from flows.run import Outcome, Run
from tasks.dynamic import DYNAMIC_VERSION
from tasks.errors import RemasterError
from tasks.finish import MASTER_VERSIONS
from tasks.media.cadence.fields import FIELDS_VERSION
from tasks.media.cadence.recipe import RECIPE_VERSION
from tasks.media.contract.likeness import LIKENESS_VERSION
from tasks.media.picture.alpha import ALPHA_VERSION
from tasks.media.picture.bars import BARS_VERSION
from tasks.media.picture.square import SQUARE_VERSION
from tasks.media.writing.captions import CAPTIONS_VERSION
from tasks.media.writing.carry import DATA_VERSION
from tasks.media.writing.icc import ICC_VERSION
from tasks.media.writing.numbered import NUMBERED_VERSION
from tasks.media.writing.part import PART_VERSION
from tasks.media.writing.sound import SOUND_VERSION
from tasks.media.writing.words import WORDS_VERSION
from tasks.plan import SHARD_VERSIONS, model_reference
from tasks.receipt import RECEIPT_VERSION
from tasks.records import Revision, Title, content_key, from_sealed, to_sealed
from tasks.signing import signer
from tasks.store import Store, stat
from tasks.store.sequence import with_fps
from vsr_model.hdr import HDR_VERSION
from vsr_model.registry import find
from vsr_model.tone import TONE_VERSION

_LOG = logging.getLogger("remaster.standing")


@dataclass(frozen=True)
class Standing:
    """What was there when a title's master was made.

    Attributes:
        asked: hash of all that the run was asked and that a master depends on, but for revisions.
        revised: hash of those; empty if there were none.
        title: as it was scanned.
        outcome: how it ended.
        files: URI, size and stamp of its master and receipt, or of those of its parts.
    """

    asked: str
    revised: str
    title: Title
    outcome: Outcome
    files: tuple[tuple[str, int, str], ...]


class Standings:
    """Looks for the masters that stand for a run, and notes those that it makes. Thread-safe."""

    def __init__(self, run: Run) -> None:
        self._run, self._store = run, Store(run.store)
        self._asked = _asked(run)
        self._lock = threading.Lock()
        self._found: dict[str, Outcome] = {}

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """How the titles that were found to stand ended, by name."""
        return self._found

    def find(self, name: str, uri: str) -> Title | None:
        """The title, if its master stands."""
        if self._run.force or any(revision.again for revision in self._revisions(name)):
            return None
        try:
            noted = from_sealed(Standing, self._store.read(_place(name, uri, self._run)))
            title = noted.title
            files = ((title.uri, title.size, title.stamp), *noted.files)
            # A run that speaks of no revision does not take back what a person had made otherwise.
            other = noted.asked != self._asked or self._revised(name) not in ("", noted.revised)
            if other or any(_now(place) != (size, stamp) for place, size, stamp in files):
                return None
        except (FileNotFoundError, ValueError, RemasterError):
            return None
        with self._lock:
            shards = noted.outcome.shards
            self._found[name] = noted.outcome.model_copy(update={"cached": shards, "seconds": 0.0})
        return title

    def note(self, title: Title, outcome: Outcome, receipt: str) -> None:
        """Note that a master was made and passed its check. To be called while its place is ours."""
        try:
            files = tuple((place, *_now(place)) for place in (outcome.master, receipt))
            self._write(title, outcome, files)
        except (FileNotFoundError, RemasterError) as error:
            _LOG.warning("%s: the next run will look at it again: %s", title.name, error)

    def note_parts(self, title: Title, outcome: Outcome, parts: Iterable[Title]) -> None:
        """Note that a title was made in parts, all of which have been noted: it stands as long as all of them do."""
        try:
            notes = [_place(part.name, part.uri, self._run) for part in parts]
            files = [file for note in notes for file in from_sealed(Standing, self._store.read(note)).files]
            # Whoever lets a part be looked at again removes its note.
            files += [(uri, *_now(uri)) for uri in map(self._store.uri, notes)]
            self._write(title, outcome, tuple(files))
        except (FileNotFoundError, ValueError, RemasterError) as error:
            _LOG.warning("%s: the next run will look at it again: %s", title.name, error)

    def _write(self, title: Title, outcome: Outcome, files: tuple[tuple[str, int, str], ...]) -> None:
        noted = Standing(self._asked, self._revised(title.name), title, outcome, files)
        self._store.write(_place(title.name, title.uri, self._run), to_sealed(noted))

    def _revised(self, name: str) -> str:
        revised = [(each.start, each.stop, each.settings, each.reason) for each in self._revisions(name)]
        return content_key({"revisions": revised}) if revised else ""

    def _revisions(self, name: str) -> list[Revision]:
        return [revision for revision in self._run.revisions if revision.title == name]


def forget(title: Title, run: Run) -> None:
    """Let no run of the same output pass a title over: it is to be looked at again."""
    Store(run.store).delete(_place(title.name, title.uri, run))


def _place(name: str, uri: str, run: Run) -> str:
    key = content_key({"name": name, "uri": with_fps(uri, None), "output": run.output})
    return f"standing/{key[:2]}/{key}.json"


def _asked(run: Run) -> str:
    """Hash of what the masters of a run depend on, but for their sources."""
    profile, key = run.profile, signer()
    return content_key(
        {
            "profile": profile.model_dump(exclude={"retry", "cost"}),
            "model": model_reference(find(profile.model), profile),
            "signed": key.public_key if key else "",
            "versions": [
                SHARD_VERSIONS, FIELDS_VERSION, RECIPE_VERSION, BARS_VERSION, MASTER_VERSIONS, LIKENESS_VERSION,
                NUMBERED_VERSION, RECEIPT_VERSION, SOUND_VERSION, WORDS_VERSION, HDR_VERSION, TONE_VERSION,
                ALPHA_VERSION, SQUARE_VERSION, DYNAMIC_VERSION, PART_VERSION, CAPTIONS_VERSION, ICC_VERSION,
                DATA_VERSION,
            ],
        }
    )  # fmt: skip


def _now(uri: str) -> tuple[int, str]:
    found = stat(uri)
    return found.size, found.stamp
