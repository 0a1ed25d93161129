"""Links from Prefect's pages to reports and masters, which a browser follows only where a web server serves these.

Browsers open no `file:` from a page that is none, and know no `s3:`; a URL that is signed for one ends after days
at most. So an operator says in REMASTER_PAGES_URL what is served where, and what is not is shown as the place it is.
"""

from __future__ import annotations

import os
import posixpath
from urllib.parse import quote, urlsplit

from tasks.errors import UsageError
from tasks.store import normalise
from tasks.store.sequence import pattern_of

VARIABLE = "REMASTER_PAGES_URL"
_FORM = (
    "write it as PLACE=URL, several with spaces between them, e.g. s3://out/masters=https://films.example.org/masters"
)


def served_places() -> dict[str, str]:
    """The places that are served, as URIs, each with its URL; a space in either is %20.

    Raises:
        UsageError: the variable does not say so.
    """
    served = {}
    for pair in os.environ.get(VARIABLE, "").split():
        place, equals, url = pair.partition("=")
        if not (equals and urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc):
            raise UsageError(f"{VARIABLE}={pair}: {_FORM}.")
        served[normalise(place.replace("%20", " "))] = url.rstrip("/")
    return served


def url_of(uri: str) -> str:
    """Where a browser finds a file or object; empty if nowhere. Of numbered files it is their folder."""
    uri = normalise(uri) if pattern_of(uri) is None else posixpath.dirname(uri)
    try:
        served = served_places()
    except UsageError:  # which was said when the run was asked for; it goes on without
        return ""
    around = [place for place in served if f"{uri}/".startswith(f"{place.rstrip('/')}/")]
    if not around:
        return ""
    nearest = max(around, key=len)
    return served[nearest] + quote(uri[len(nearest.rstrip("/")) :])


def link(words: str, uri: str) -> str:
    """Markdown that leads to a file or object, or says where it is, whatever is in its name."""
    said, url = " ".join(words.split()), url_of(uri)
    escaped = "".join(f"\\{c}" if c in "\\[]|`*_<>" else c for c in said)
    return f"[{escaped}](<{url}>)" if url else f"{escaped}: {code(uri)}"


def code(text: str) -> str:
    """Text as it is, to be copied, also within a table."""
    fence = "`" * (text.count("`") + 1)
    room = " " if "`" in text else ""
    return f"{fence}{room}{' '.join(text.splitlines())}{room}{fence}".replace("|", "\\|")
