"""A source is its content: the name does not count, every byte does."""

from __future__ import annotations

import hashlib
import os

import pytest

from tasks.errors import SourceChanged
from tasks.store import SourceStat, fingerprint, stat
from tasks.store import fingerprint as function
from tasks.store.digest import BLOCK


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 7])
def test_it_is_blake2b_of_the_content(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "a.mkv").write_bytes(data)
    assert fingerprint(str(tmp_path / "a.mkv")) == hashlib.blake2b(data, digest_size=32).hexdigest()


def test_the_name_does_not_count_and_every_byte_does(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"picture")
    (tmp_path / "b c#.mkv").write_bytes(b"picture")
    (tmp_path / "c.mkv").write_bytes(b"picturE")
    first, same, other = (fingerprint(str(tmp_path / name)) for name in ["a.mkv", "b c#.mkv", "c.mkv"])
    assert first == same != other


def test_the_stamp_changes_with_the_file(tmp_path):
    path = tmp_path / "a.mkv"
    path.write_bytes(b"one")
    before = stat(str(path))
    assert before == SourceStat(3, str(path.stat().st_mtime_ns)) == stat(str(path))
    os.utime(path, ns=(0, 1))
    assert stat(str(path)) == SourceStat(3, "1")


def test_a_source_that_is_still_being_written_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.mkv"
    path.write_bytes(b"first half")
    module = __import__(function.__module__, fromlist=["open_read"])
    opened = module.open_read

    def open_and_grow(uri):
        path.write_bytes(b"first half and second")
        return opened(uri)

    monkeypatch.setattr(module, "open_read", open_and_grow)
    with pytest.raises(SourceChanged, match=r"a\.mkv"):
        fingerprint(str(path))


def test_what_is_no_file_has_no_fingerprint(tmp_path):
    for path in [tmp_path, tmp_path / "none"]:
        with pytest.raises(FileNotFoundError):
            fingerprint(str(path))
