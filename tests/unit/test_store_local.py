"""The store in a local folder: all or nothing, once where once was asked for, and sentences in place of errno."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from tasks.errors import StoreError, StoreFull, UsageError
from tasks.store import Digest, Store, local
from tests.needs import mounted
from tests.odd_names import ODD_NAMES


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def everything_in(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in Path(store.root).rglob("*") if path.is_file())


def failing(monkeypatch, name: str, number: int) -> None:
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


def test_a_store_is_its_root(store, tmp_path):
    again = pickle.loads(pickle.dumps(store))
    assert again == store == Store(f"file://{tmp_path}/store/")
    assert hash(again) == hash(store)
    assert again != Store(str(tmp_path))
    assert again.root == str(tmp_path / "store")
    assert again.uri("a/b") == f"{tmp_path}/store/a/b"
    assert not (tmp_path / "store").exists()


def test_write_read_replace_delete(store):
    assert not store.exists("records/a.json")
    with pytest.raises(FileNotFoundError, match=r"records/a\.json"):
        store.read("records/a.json")
    store.write("records/a.json", b"one")
    store.write("records/a.json", b"second")
    assert store.read("records/a.json") == b"second"
    assert store.size("records/a.json") == 6
    assert store.exists("records/a.json")
    with store.open("records/a.json") as file:
        assert file.seek(3) == 3
        assert file.read() == b"ond"
    store.delete("records/a.json")
    store.delete("records/a.json")
    store.delete("never/was")
    assert not store.exists("records/a.json")


def test_a_folder_is_not_a_file(store):
    store.write("a/b", b"")
    assert not store.exists("a")
    assert not store.exists("a/b/c")
    for key in ["a", "a/b/c"]:
        with pytest.raises(FileNotFoundError):
            store.read(key)
        with pytest.raises(FileNotFoundError):
            store.size(key)
        with pytest.raises(UsageError):
            store.write(key, b"")
    store.delete("a/b/c")
    with pytest.raises(UsageError):
        store.delete("a")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(store, name):
    store.write(f"a/{name}", name.encode())
    assert store.create(f"{name}/b", b"b")
    assert store.read(f"a/{name}") == name.encode()
    assert store.list() == sorted([f"a/{name}", f"{name}/b"])
    assert store.list(name) == [f"{name}/b"]


def test_list_is_sorted_recursive_and_without_temporaries(store, tmp_path):
    assert store.list() == store.list("none") == []
    for key in ["b/2", "b/10", "a b", "a/x/y", "b.c"]:
        store.write(key, b"")
    (tmp_path / "store" / "b" / ".remaster-tmp-left").write_bytes(b"")
    (tmp_path / "store" / ".remaster-tmp-left").mkdir()
    (tmp_path / "store" / ".remaster-tmp-left" / "half").write_bytes(b"")
    assert store.list() == ["a b", "a/x/y", "b.c", "b/10", "b/2"]
    assert store.list("b") == store.list("b/") == ["b/10", "b/2"]
    assert store.list("a") == ["a/x/y"]
    assert store.list("b.c") == []


def test_list_follows_links_to_files_only(store, tmp_path):
    store.write("real/a", b"")
    (tmp_path / "store" / "link-to-file").symlink_to(tmp_path / "store" / "real" / "a")
    (tmp_path / "store" / "link-to-folder").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "link-to-nothing").symlink_to("nowhere")
    assert store.list() == ["link-to-file", "real/a"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../other", "a/../../other", "a//b", ".", "a/", "nul\0"])
def test_a_key_stays_below_the_root(store, key):
    for call in [store.exists, store.read, store.size, store.open, store.delete, store.uri, store.digest]:
        with pytest.raises(UsageError, match="not a path below"):
            call(key)
    for call in [store.write, store.create]:
        with pytest.raises(UsageError, match="not a path below"):
            call(key, b"")
    with pytest.raises(UsageError, match="not a path below"):
        store.put_file(__file__, key)


def test_create_once(store):
    assert store.create("record", b"first")
    assert not store.create("record", b"second")
    assert store.read("record") == b"first"
    assert everything_in(store) == ["record"]


def test_of_many_threads_one_creates(store):
    together = Barrier(24)

    def race(number: int) -> bool:
        together.wait()
        return store.create("deep/er/record", b"%d" % number * 1000)

    with ThreadPoolExecutor(24) as pool:
        won = list(pool.map(race, range(24)))
    assert won.count(True) == 1
    assert store.read("deep/er/record") == b"%d" % won.index(True) * 1000
    assert everything_in(store) == ["deep/er/record"]


def test_create_where_there_are_no_hard_links(store, monkeypatch):
    failing(monkeypatch, "link", errno.EPERM)
    assert store.create("record", b"first")
    assert not store.create("record", b"second")
    assert store.read("record") == b"first"
    assert everything_in(store) == ["record"]


def test_create_in_place_leaves_nothing_when_the_disk_is_full(store, monkeypatch):
    failing(monkeypatch, "link", errno.ENOTSUP)
    synced = os.fsync
    calls = []

    def full_at_the_second(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "full")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(StoreFull):
        store.create("record", b"first")
    assert everything_in(store) == []


def test_a_reader_sees_the_old_bytes_or_the_new(store):
    old, new = b"a" * 300_000, b"b" * 200_000
    store.write("table", old)
    stop, torn = Event(), []

    def read() -> None:
        while not stop.is_set():
            if store.read("table") not in (old, new):
                torn.append(True)

    readers = [Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(40):
        store.write("table", new if turn % 2 else old)
    stop.set()
    for reader in readers:
        reader.join()
    assert not torn


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("size", [0, 5_000_001])
def test_put_file(store, tmp_path, move, size):
    data = os.urandom(size)
    source = tmp_path / "segment"
    source.write_bytes(data)
    digest = store.put_file(source, "segments/ab/cd.mkv", move=move)
    assert digest == Digest(hashlib.sha256(data).hexdigest(), size) == store.digest("segments/ab/cd.mkv")
    assert store.read("segments/ab/cd.mkv") == data
    assert source.exists() != move
    assert everything_in(store) == ["segments/ab/cd.mkv"]


def test_put_file_replaces(store, tmp_path):
    store.write("segment", b"old")
    (tmp_path / "new").write_bytes(b"new one")
    store.put_file(str(tmp_path / "new"), "segment")
    assert store.read("segment") == b"new one"


def test_put_file_moves_across_file_systems(store, tmp_path, monkeypatch):
    source = tmp_path / "segment"
    source.write_bytes(b"frames")
    replace = os.replace

    def other_file_system(old, new):
        if Path(old) == source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(old, new)

    monkeypatch.setattr(os, "replace", other_file_system)
    assert store.put_file(source, "segment", move=True) == store.digest("segment")
    assert store.read("segment") == b"frames"
    assert not source.exists()


def test_put_file_of_nothing(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        store.put_file(tmp_path / "absent", "segment")
    assert store.list() == []


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_failed_put_leaves_the_old_file_and_nothing_else(store, tmp_path, monkeypatch, failure):
    store.write("segment", b"old")
    source = tmp_path / "new"
    source.write_bytes(b"new")

    def fail(descriptor):
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    for move in [False, True]:
        with pytest.raises(StoreError if isinstance(failure, OSError) else KeyboardInterrupt):
            store.put_file(source, "segment", move=move)
    assert store.read("segment") == b"old"
    assert source.read_bytes() == b"new"
    assert everything_in(store) == ["segment"]


def test_matches(store):
    store.write("segment", b"frames")
    digest = store.digest("segment")
    assert store.matches("segment", digest)
    assert not store.matches("absent", digest)
    assert not store.matches("segment", Digest(digest.sha256, 7))
    store.write("segment", b"Frames")
    assert not store.matches("segment", digest)


def test_matches_looks_at_the_size_before_it_reads(store, monkeypatch):
    store.write("segment", b"frames")

    def unread(*args):
        raise AssertionError("read a file whose size is wrong")

    monkeypatch.setattr(local, "open_read", unread)
    assert not store.matches("segment", Digest("0" * 64, 5))


def test_temporary_folder_is_on_the_store_and_goes(store):
    with store.temporary_folder() as folder, store.temporary_folder() as other:
        assert folder != other
        assert folder.parent == Path(store.root)
        (folder / "segment.mkv").write_bytes(b"frames")
        (folder / "rest").write_bytes(b"")
        assert store.list() == []
        inode = (folder / "segment.mkv").stat().st_ino
        store.put_file(folder / "segment.mkv", "segments/a.mkv", move=True)
    assert Path(store.uri("segments/a.mkv")).stat().st_ino == inode
    assert os.listdir(store.root) == ["segments"]


def test_check_writable_makes_the_root_and_leaves_nothing(store):
    store.check_writable()
    store.check_writable()
    assert os.listdir(store.root) == []


def test_a_full_disk(tmp_path):
    store = Store(str(tmp_path / "small"))
    source = tmp_path / "segment"
    source.write_bytes(os.urandom(2**20))
    with mounted(tmp_path / "small", "size=512k"):
        store.write("old", b"kept")
        for attempt in [
            lambda: store.write("new", bytes(2**20)),
            lambda: store.create("new", bytes(2**20)),
            lambda: store.put_file(source, "new"),
            lambda: store.put_file(source, "new", move=True),
        ]:
            with pytest.raises(StoreFull, match=r"No space left to write .*/new .*Free some"):
                attempt()
            assert everything_in(store) == ["old"]
        assert store.read("old") == b"kept"
        assert source.exists()
        store.write("new", b"there is room again")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_as_the_kernel_reports_it(store, monkeypatch, number):
    """By monkeypatch, because a quota cannot be set up in a test, and a full disk only where mounting is permitted."""
    failing(monkeypatch, "fsync", number)
    for attempt in [lambda: store.write("a", b""), lambda: store.create("a", b""), store.check_writable]:
        with pytest.raises(StoreFull, match="No space left"):
            attempt()
    assert everything_in(store) == []


def test_a_read_only_file_system(tmp_path):
    with mounted(tmp_path / "sealed", "ro"):
        for store in [Store(str(tmp_path / "sealed")), Store(str(tmp_path / "sealed" / "deeper"))]:
            for attempt in [store.check_writable, lambda store=store: store.write("a", b"")]:
                with pytest.raises(UsageError, match=r"Read-only.*Give this user the permission"):
                    attempt()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_folder_without_permission(store):
    store.write("a", b"")
    Path(store.root).chmod(0o500)
    try:
        with pytest.raises(UsageError, match="permission"):
            store.check_writable()
    finally:
        Path(store.root).chmod(0o700)


@pytest.mark.parametrize("root", ["file-not-folder", "file-not-folder/deeper", "/proc/nothing"])
def test_a_root_that_cannot_be_made(tmp_path, root):
    """For root too: below a regular file and below /proc nothing can be made, whatever the permissions."""
    (tmp_path / "file-not-folder").write_bytes(b"")
    store = Store(str(tmp_path / root))
    with pytest.raises(UsageError, match="cannot be written"):
        store.check_writable()


def test_a_broken_disk_is_worth_another_attempt(store, monkeypatch):
    failing(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(StoreError, match="could not be written") as broken:
        store.write("a", b"")
    assert not isinstance(broken.value, StoreFull)


@pytest.mark.parametrize("move", [False, True])
def test_a_file_may_be_kept_from_appearing_at_the_last_moment(store, tmp_path, move):
    class TooLate(Exception):
        pass

    def refuse():
        assert store.read("master.mkv") == b"another's"
        raise TooLate

    source = tmp_path / "master.mkv"
    source.write_bytes(b"ours")
    store.write("master.mkv", b"another's")
    with pytest.raises(TooLate):
        store.put_file(source, "master.mkv", move=move, commit=refuse)
    assert source.read_bytes() == b"ours"
    assert store.read("master.mkv") == b"another's"
    assert everything_in(store) == ["master.mkv"]


def test_a_file_that_goes_while_a_folder_is_looked_at_hides_no_other(tmp_path):
    for name in "abcde":
        (tmp_path / name).write_text(name)

    def wanted(name: str) -> bool:
        (tmp_path / "c").unlink(missing_ok=True)
        return True

    assert sorted(local.stat_folder(str(tmp_path), wanted)) == ["a", "b", "d", "e"]
