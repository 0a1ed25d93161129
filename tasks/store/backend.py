"""Which kind of storage a URI belongs to."""

from __future__ import annotations

from tasks.store.protocol import S3, Backend


def is_remote(uri: str) -> bool:
    """True for S3, False for a local path."""
    return uri.startswith(S3)


def backend(uri: str) -> Backend:
    """The backend of a normalised URI."""
    if is_remote(uri):
        # Takes half a second to import, which a run on local folders need not pay.
        from tasks.store import s3

        return s3
    from tasks.store import local

    return local
