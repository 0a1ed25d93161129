"""Where everything is kept: a local folder or an S3 prefix behind one small set of operations.

    uri          names of files and folders, and opening them to read
    store        the work root: atomic writes, write-once records, big files committed whole, hashes
    lease        who of several makes a thing, so that the others need not
    scratch      half-written files by the process that makes them, and the removal of those of dead ones (`process`)
    fingerprint  what identifies a source: its content, and a cheap stamp of it
    sequence     runs of numbered files, each run read and written as one
    protocol     what a kind of storage offers; `local` and `s3` are the two there are, `backend` tells them apart;
                 `contents` has runs of numbered files read as one

It knows bytes and their names. It knows neither Prefect, Ray, PyAV nor torch, nor what a title, shard or segment is.
Every error is one of `tasks.errors`, or FileNotFoundError where a file is simply not there.
"""

from tasks.store.digest import Digest, Passing, digest_of
from tasks.store.fingerprint import SourceStat, fingerprint, last_change, stat
from tasks.store.store import Store
from tasks.store.uri import filesystem, is_remote, join, normalise, open_read

__all__ = [
    "Digest",
    "Passing",
    "SourceStat",
    "Store",
    "digest_of",
    "filesystem",
    "fingerprint",
    "is_remote",
    "join",
    "last_change",
    "normalise",
    "open_read",
    "stat",
]
