"""The store on a real S3 server: the same promises as on a disk, and what goes wrong only over a network."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
import socket
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest
from botocore.exceptions import ProxyConnectionError

from tasks.clean import find_waste, remove_waste
from tasks.errors import StoreError, StoreFull, UsageError
from tasks.store import Digest, Store, fingerprint, open_read, s3_client, stat
from tasks.store import s3 as objects
from tasks.store.s3_client import TRIES, Client, client
from tasks.store.s3_errors import explain
from tasks.store.uri import filesystem
from tests.odd_names import ODD_NAMES
from tests.s3 import S3Place, environment, use

MIB = 2**20


@pytest.fixture
def store(s3: S3Place) -> Store:
    return Store(s3.root)


@pytest.fixture
def quick(monkeypatch):
    """No pauses between attempts, where a test makes all of them fail."""
    monkeypatch.setattr(s3_client, "PAUSE", 0)


def keys_on_server(s3: S3Place) -> list[str]:
    listed = s3.server.boto().list_objects_v2(Bucket=s3.server.bucket, Prefix=s3.prefix + "/")
    return [entry["Key"].removeprefix(s3.prefix + "/") for entry in listed.get("Contents", [])]


def unfinished_uploads(s3: S3Place) -> list[str]:
    listed = s3.server.boto().list_multipart_uploads(Bucket=s3.server.bucket)
    return [entry["Key"] for entry in listed.get("Uploads", []) if entry["Key"].startswith(s3.prefix)]


class Requests:
    """Counts the requests of each method as they leave the client, and makes some of them go wrong."""

    def __init__(self, monkeypatch, **wrong):
        self.made: list[str] = []
        self.bytes_read = 0
        fs = client()
        aws = fs.s3

        for method in ["put_object", "get_object", "head_object", "upload_part", "complete_multipart_upload"]:
            monkeypatch.setattr(aws, method, self._wrap(getattr(aws, method), wrong.get(method)))

    def _wrap(self, method, wrong):
        async def counted(**parameters):
            self.made.append(counted.__name__)
            number = self.made.count(counted.__name__)
            if wrong:
                parameters = await wrong(number, parameters, method) or parameters
            answer = await method(**parameters)
            if counted.__name__ == "get_object":
                self.bytes_read += answer["ContentLength"]
            return answer

        counted.__name__ = method.__name__
        return counted


def server_error(status: int, code: str, operation: str = "Anything") -> Exception:
    from botocore.exceptions import ClientError

    return ClientError(
        {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )


def always(error: BaseException):
    async def wrong(number, parameters, method):
        raise error

    return wrong


def at_first(error: BaseException, times: int = 1):
    async def wrong(number, parameters, method):
        if number <= times:
            raise error

    return wrong


def answer_lost(error: Exception):
    """The request is carried out, and its answer does not arrive."""

    async def wrong(number, parameters, method):
        if number == 1:
            await method(**parameters)
            raise error

    return wrong


# --- the same promises as on a disk -----------------------------------------------------------------------------------


def test_write_read_replace_delete(store):
    assert not store.exists("records/a.json")
    with pytest.raises(FileNotFoundError, match=r"records/a\.json"):
        store.read("records/a.json")
    store.write("records/a.json", b"one")
    store.write("records/a.json", b"second")
    assert store.read("records/a.json") == b"second"
    assert store.size("records/a.json") == 6
    assert store.exists("records/a.json")
    assert not store.exists("records")
    with store.open("records/a.json") as file:
        assert file.seek(3) == 3
        assert file.read() == b"ond"
    store.delete("records/a.json")
    store.delete("records/a.json")
    assert not store.exists("records/a.json")
    assert store.list() == []


def test_probes_that_killed_processes_left_are_found_and_removed(store):
    store.write("records/x.json", b"content")
    store.write("records/.remaster-tmp-x", b"probe")
    (left,) = store.temporaries()
    assert (left.key, left.size) == ("records/.remaster-tmp-x", 5)
    assert abs(left.changed - time.time()) < 300
    store.delete_temporary(left.key)
    assert store.temporaries() == ()
    assert store.list() == ["records/x.json"]


def test_what_a_killed_plan_measured_is_known_as_waste_once_it_is_old(store):
    with store.temporary_store() as scratch:
        for key in ("segments/ab/half.mkv", "records/ab/half.json"):
            scratch.write(key, b"0123456789")
        assert store.list() == []
        assert find_waste(store, ()).temporaries == ()
        waste = find_waste(store, (), now=time.time() + 25 * 3600)
        assert len(waste.temporaries) == 1
        assert remove_waste(store, waste, lambda: ()) == waste.bytes == 20
        assert scratch.list() == []


def test_an_empty_object(store):
    store.write("empty", b"")
    assert store.read("empty") == b""
    assert store.digest("empty") == Digest(hashlib.sha256().hexdigest(), 0)
    with store.open("empty") as file:
        assert file.read() == b""


def test_another_process_gets_the_same_store(store):
    again = pickle.loads(pickle.dumps(store))
    store.write("a", b"x")
    assert again == store
    assert again.read("a") == b"x"


# SeaweedFS stores a backslash as a slash; S3 does not.
@pytest.mark.parametrize("name", [name for name in ODD_NAMES if "\\" not in name])
def test_odd_names(store, s3, name, tmp_path):
    store.write(f"a/{name}", b"written")
    assert store.create(f"{name}/b", b"created")
    (tmp_path / "local").write_bytes(b"put")
    store.put_file(tmp_path / "local", f"a/put {name}")
    assert store.read(f"a/{name}") == b"written"
    assert store.size(f"{name}/b") == 7
    assert fingerprint(store.uri(f"{name}/b")) == hashlib.blake2b(b"created", digest_size=32).hexdigest()
    with store.open(f"a/put {name}") as file:
        assert file.read() == b"put"
    assert store.list() == sorted([f"a/{name}", f"{name}/b", f"a/put {name}"])
    assert store.list(name) == [f"{name}/b"]
    assert sorted(keys_on_server(s3)) == store.list()
    for key in store.list():
        store.delete(key)
    assert keys_on_server(s3) == []


def test_list_is_sorted_recursive_and_without_temporaries(store):
    keys = ["b/2", "b/10", "a b", "a/x/y", "b.c"]
    for key in [*keys, ".remaster-tmp-left", "b/.remaster-tmp-left/half"]:
        store.write(key, b"")
    assert store.list() == ["a b", "a/x/y", "b.c", "b/10", "b/2"]
    assert store.list("b") == store.list("b/") == ["b/10", "b/2"]
    assert store.list("a") == ["a/x/y"]
    assert store.list("b.c") == store.list("none") == []


def test_a_list_does_not_lag(store):
    fs, folder = filesystem(store.root)
    for number in range(10):
        store.write(f"record-{number}", b"")
        assert len(fs.ls(folder)) == number + 1
        assert store.list() == [f"record-{each}" for each in range(number + 1)]
    store.delete("record-9")
    assert len(store.list()) == 9


def test_more_keys_than_fit_a_page(store):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.write(f"records/{number:04}", b""), range(1100)))
    assert store.list("records") == [f"records/{number:04}" for number in range(1100)]


def test_check_writable_leaves_nothing(store, s3):
    store.check_writable()
    assert keys_on_server(s3) == []


def test_a_bucket_may_be_the_root(s3):
    store = Store(f"s3://{s3.server.make_bucket()}/")
    store.check_writable()
    store.write("a", b"x")
    assert store.list() == ["a"]
    with pytest.raises(FileNotFoundError):  # which is how one tells a folder from a file
        stat(store.root)


# --- once -------------------------------------------------------------------------------------------------------------


def test_of_many_threads_one_creates(store):
    together = Barrier(24)

    def race(number: int) -> bool:
        together.wait()
        return store.create("record", b"%d" % number * 1000)

    with ThreadPoolExecutor(24) as pool:
        won = list(pool.map(race, range(24)))
    assert won.count(True) == 1
    assert store.read("record") == b"%d" % won.index(True) * 1000


def test_creating_again_changes_nothing(store):
    assert store.create("record", b"first")
    assert not store.create("record", b"second")
    assert store.read("record") == b"first"


def test_a_record_whose_answer_got_lost_counts_as_ours(store, monkeypatch):
    """The repeated request is refused, because the object is there; it is ours all the same."""
    requests = Requests(monkeypatch, put_object=answer_lost(server_error(500, "InternalError")))
    assert store.create("record", b"mine")
    assert requests.made.count("put_object") == 2


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_conflict_is_tried_again(store, monkeypatch, quick, code):
    requests = Requests(monkeypatch, put_object=at_first(server_error(409, code), times=2))
    assert store.create("record", b"mine")
    assert requests.made.count("put_object") == 3


def test_a_server_without_conditions_does_not_replace(store, monkeypatch):
    async def ignore(number, parameters, method):
        return {name: value for name, value in parameters.items() if name != "IfNoneMatch"}

    Requests(monkeypatch, put_object=ignore)
    assert store.create("record", b"first")
    assert not store.create("record", b"second")
    assert store.read("record") == b"first"


def test_a_server_without_conditions_tells_who_came_last(store, monkeypatch):
    """Another writer gets between our look and our write, and then between our write and our second look."""
    other = []

    async def overtaken(number, parameters, method):
        answer = {name: value for name, value in parameters.items() if name != "IfNoneMatch"}
        await method(**answer)
        other.append(True)
        return {**answer, "Body": b"theirs", "ContentMD5": objects._md5(b"theirs"), "Metadata": {"writer": "other"}}

    Requests(monkeypatch, put_object=overtaken)
    assert not store.create("record", b"ours")
    assert other
    assert store.read("record") == b"theirs"


# --- big files --------------------------------------------------------------------------------------------------------


PARTS = 6


@pytest.fixture(scope="module")
def big(tmp_path_factory) -> Path:
    """40 MiB and a bit, which makes PARTS parts."""
    path = tmp_path_factory.mktemp("big") / "segment.mkv"
    path.write_bytes(os.urandom(40 * MIB + 11))
    return path


def test_a_big_file_arrives_whole(store, s3, big, monkeypatch):
    requests = Requests(monkeypatch)
    digest = store.put_file(big, "segments/a.mkv")
    assert digest == Digest(hashlib.sha256(big.read_bytes()).hexdigest(), 40 * MIB + 11)
    assert requests.made.count("upload_part") == PARTS
    assert store.matches("segments/a.mkv", digest)
    assert not store.matches("segments/a.mkv", Digest("0" * 64, digest.size))
    assert fingerprint(store.uri("segments/a.mkv")) == hashlib.blake2b(big.read_bytes(), digest_size=32).hexdigest()
    assert unfinished_uploads(s3) == []
    assert big.exists()


@pytest.mark.parametrize("size", [0, 1000, 17 * MIB])
def test_a_moved_file_is_gone(store, tmp_path, size):
    source = tmp_path / "segment"
    source.write_bytes(os.urandom(size))
    data = source.read_bytes()
    digest = store.put_file(source, "a", move=True)
    assert not source.exists()
    assert digest == Digest(hashlib.sha256(data).hexdigest(), size) == store.digest("a")


@pytest.mark.parametrize(
    ("method", "error", "raised"),
    [
        ("upload_part", server_error(500, "InternalError"), StoreError),
        ("upload_part", server_error(403, "ExpiredToken"), UsageError),
        ("upload_part", server_error(507, "InsufficientStorage"), StoreFull),
        ("complete_multipart_upload", server_error(503, "SlowDown"), StoreError),
    ],
)
def test_a_failed_upload_leaves_nothing(store, s3, big, monkeypatch, quick, method, error, raised):
    async def wrong(number, parameters, sent):
        if method != "upload_part" or parameters["PartNumber"] == 2:
            raise error

    Requests(monkeypatch, **{method: wrong})
    with pytest.raises(raised, match=r"segments/a\.mkv"):
        store.put_file(big, "segments/a.mkv", move=True)
    assert unfinished_uploads(s3) == []
    assert keys_on_server(s3) == []
    assert big.exists()


@pytest.mark.parametrize("size", [10, 20 * MIB])
def test_an_object_may_be_kept_from_appearing_after_its_bytes_were_sent(store, s3, tmp_path, size):
    class TooLate(Exception):
        pass

    def refuse():
        raise TooLate

    source = tmp_path / "master.mkv"
    source.write_bytes(bytes(size))
    store.write("master.mkv", b"another's")
    with pytest.raises(TooLate):
        store.put_file(source, "master.mkv", move=True, commit=refuse)
    assert store.read("master.mkv") == b"another's"
    assert unfinished_uploads(s3) == []
    assert source.exists()


def test_a_failed_upload_leaves_the_old_object(store, big, monkeypatch, quick):
    store.write("segment", b"old")
    Requests(monkeypatch, upload_part=always(server_error(500, "InternalError")))
    with pytest.raises(StoreError):
        store.put_file(big, "segment")
    assert store.read("segment") == b"old"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_upload_leaves_nothing(store, s3, big, monkeypatch, interruption):
    blocks = objects._blocks

    def interrupted(file, size):
        stream = blocks(file, size)
        yield next(stream)
        yield next(stream)
        raise interruption

    monkeypatch.setattr(objects, "_blocks", interrupted)
    with pytest.raises(interruption):
        store.put_file(big, "segment")
    assert unfinished_uploads(s3) == []
    assert keys_on_server(s3) == []


def test_a_part_that_fails_once_is_sent_again(store, big, monkeypatch, quick):
    requests = Requests(monkeypatch, upload_part=at_first(server_error(503, "SlowDown"), times=2))
    digest = store.put_file(big, "segment")
    assert requests.made.count("upload_part") == PARTS + 2
    assert store.digest("segment") == digest


def test_a_part_damaged_on_its_way_is_sent_again(store, big, monkeypatch, quick):
    """The server itself finds this out, by the MD5 sent along."""
    damaged = []

    async def damage(number, parameters, method):
        if number == 1:
            damaged.append(True)
            parameters = {**parameters, "Body": b"\0" * len(parameters["Body"])}
        return parameters

    requests = Requests(monkeypatch, upload_part=damage)
    digest = store.put_file(big, "segment")
    assert damaged
    assert requests.made.count("upload_part") == PARTS + 1
    assert store.digest("segment") == digest


def test_a_completed_upload_whose_answer_got_lost(store, s3, big, monkeypatch, quick):
    lost = answer_lost(server_error(500, "InternalError"))
    requests = Requests(monkeypatch, complete_multipart_upload=lost)
    digest = store.put_file(big, "segment")
    assert requests.made.count("complete_multipart_upload") == 2
    assert store.digest("segment") == digest
    assert unfinished_uploads(s3) == []


def test_an_upload_that_somebody_else_ended(store, s3, big, monkeypatch):
    async def end(number, parameters, method):
        s3.server.boto().abort_multipart_upload(
            Bucket=parameters["Bucket"], Key=parameters["Key"], UploadId=parameters["UploadId"]
        )

    Requests(monkeypatch, complete_multipart_upload=end)
    with pytest.raises(StoreError):
        store.put_file(big, "segment")
    assert keys_on_server(s3) == []


def test_memory_of_an_upload_is_bounded(store, tmp_path):
    """As much as the comment at PART says, of 240 MiB."""
    import tracemalloc

    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.truncate(240 * MIB)
    tracemalloc.start()
    try:
        store.put_file(source, "sparse", move=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    store.delete("sparse")
    assert peak < (2 * objects.PARALLEL + 1) * objects.PART + 8 * MIB


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def film(store) -> tuple[str, bytes]:
    """64 MiB on the server, by multipart."""
    data = os.urandom(64 * MIB)
    with store.temporary_folder() as folder:
        (folder / "film").write_bytes(data)
        store.put_file(folder / "film", "film.mkv", move=True)
    return store.uri("film.mkv"), data


def test_a_read_in_the_middle_fetches_little(film, monkeypatch):
    uri, data = film
    requests = Requests(monkeypatch)
    with open_read(uri) as file:
        file.seek(30 * MIB + 12345)
        assert file.read(MIB) == data[30 * MIB + 12345 : 31 * MIB + 12345]
    # The block or two that it touches, and the one after.
    assert requests.bytes_read <= 3 * s3_client.BLOCK


def test_going_back_and_forth_fetches_once(film, monkeypatch):
    """As with picture and sound that were not interleaved, and an index at the end."""
    uri, data = film
    requests = Requests(monkeypatch)
    with open_read(uri) as file:
        for offset in range(0, 2 * MIB, 64 * 1024):
            for start in [offset, 40 * MIB + offset, 63 * MIB]:
                file.seek(start)
                assert file.read(1000) == data[start : start + 1000]
    assert requests.bytes_read <= 8 * s3_client.BLOCK


def test_reading_from_end_to_end_fetches_each_byte_once(film, monkeypatch):
    uri, data = film
    requests = Requests(monkeypatch)
    with open_read(uri) as file:
        read = b"".join(iter(lambda: file.read(1_000_003), b""))
    assert read == data
    assert requests.bytes_read == len(data)


def test_many_threads_share_one_connection(store):
    """s3fs on its own makes a client for each thread."""
    store.write("a", b"x" * 100_000)
    with ThreadPoolExecutor(24) as pool:
        clients = set(pool.map(lambda _: id(client()), range(24)))
        assert set(pool.map(lambda _: store.read("a"), range(100))) == {b"x" * 100_000}
    assert len(clients) == 1


def test_a_read_that_breaks_off_is_repeated(store, monkeypatch, quick):
    import aiohttp

    store.write("a", b"frames")
    broken = []

    async def broken_body(number, parameters, method):
        broken.append(number)
        if number < TRIES:
            raise aiohttp.ClientPayloadError("broken off")

    Requests(monkeypatch, get_object=broken_body)
    assert store.read("a") == b"frames"
    with store.open("a") as file:
        assert file.read() == b"frames"
    assert broken[-1] == TRIES + 1


def test_a_body_that_breaks_off_is_repeated(store, monkeypatch, quick):
    import aiohttp

    store.write("a", b"frames")
    aws, bodies = client().s3, []
    get_object = aws.get_object

    class Broken:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

        async def read(self):
            raise aiohttp.ClientPayloadError("broken off")

    @functools.wraps(get_object)
    async def broken(**parameters):
        answer = await get_object(**parameters)
        bodies.append(parameters)
        if len(bodies) < 3:
            answer["Body"].close()
            answer["Body"] = Broken()
        return answer

    monkeypatch.setattr(aws, "get_object", broken)
    assert store.read("a") == b"frames"
    bodies.clear()
    with store.open("a") as file:
        assert file.read() == b"frames"
    assert len(bodies) == 3


def test_an_object_replaced_while_it_is_read(store):
    store.write("a", bytes(20 * MIB))
    with store.open("a") as file:
        assert file.read(10) == bytes(10)
        store.write("a", b"\1" * 20 * MIB)
        file.seek(18 * MIB)
        with pytest.raises(StoreError, match="replaced or deleted"):
            file.read(10)


def test_the_stamp_changes_with_the_content(store):
    store.write("a", b"one")
    uri = store.uri("a")
    before = stat(uri)
    assert before.size == 3
    assert before == stat(uri)
    store.write("a", b"two")
    assert stat(uri) != before
    with pytest.raises(FileNotFoundError):
        stat(store.uri("none"))


def test_the_file_system_serves_other_libraries(store):
    """As pyarrow uses it: open, sizes, ranges, a whole file."""
    store.write("table", b"0123456789")
    fs, path = filesystem(store.uri("table"))
    assert fs.cat_file(path) == b"0123456789"
    assert fs.cat_file(path, 2, 5) == b"234"
    assert fs.info(path)["size"] == 10
    assert fs.find(filesystem(store.root)[1]) == [path]
    with fs.open(path, "rb") as file:
        assert file.read(3) == b"012"
    with fs.open(path + "2", "wb") as file:
        file.write(b"x")
    assert store.read("table2") == b"x"


# --- what goes wrong over a network -----------------------------------------------------------------------------------


def every_operation(store: Store, local: Path):
    """Each operation of a store, by name."""
    local.write_bytes(b"x")
    return {
        "check_writable": store.check_writable,
        "write": lambda: store.write("a", b"x"),
        "create": lambda: store.create("a", b"x"),
        "put_file": lambda: store.put_file(local, "a"),
        "read": lambda: store.read("a"),
        "open": lambda: store.open("a"),
        "exists": lambda: store.exists("a"),
        "size": lambda: store.size("a"),
        "list": store.list,
        "delete": lambda: store.delete("a"),
        "digest": lambda: store.digest("a"),
        "fingerprint": lambda: fingerprint(store.uri("a")),
    }


def refused(operations, match: str, *, within: float = 10) -> None:
    for name, operation in operations.items():
        started = time.monotonic()
        with pytest.raises(UsageError, match=match):
            operation()
        assert time.monotonic() - started < within, name


def test_a_wrong_secret(store, s3, monkeypatch, tmp_path):
    use(s3.server.env | {"AWS_SECRET_ACCESS_KEY": "wrong"}, monkeypatch)
    refused(every_operation(store, tmp_path / "local"), "AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UsageError, match="The secret key is wrong"):
        store.check_writable()


def test_an_unknown_key(store, s3, monkeypatch):
    use(s3.server.env | {"AWS_ACCESS_KEY_ID": "nobody"}, monkeypatch)
    with pytest.raises(UsageError, match="does not know this access key"):
        store.check_writable()


def test_no_credentials(store, s3, monkeypatch, tmp_path):
    nameless = {k: v for k, v in s3.server.env.items() if k not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    use(nameless, monkeypatch)
    refused(every_operation(store, tmp_path / "local"), "credentials")


def test_a_missing_bucket(s3, tmp_path):
    store = Store("s3://remaster-no-such-bucket/work")
    operations = every_operation(store, tmp_path / "local")
    # A bucket that is not there has nothing to delete; SeaweedFS says so too.
    del operations["delete"]
    refused(operations, "There is no such bucket")


def test_an_impossible_bucket(s3):
    for bucket in ["Upper_Case", "a", "with space"]:
        with pytest.raises(UsageError):
            Store(f"s3://{bucket}/work").check_writable()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_nothing_listens_at_the_endpoint(monkeypatch, tmp_path):
    use(environment(f"http://127.0.0.1:{free_port()}", "key", "secret"), monkeypatch)
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"nothing answers.*AWS_ENDPOINT_URL"):
        Store("s3://bucket/work").check_writable()
    assert time.monotonic() - started < 10


def test_the_endpoint_has_no_address(monkeypatch):
    use(environment("http://no-such-host.invalid", "key", "secret"), monkeypatch)
    with pytest.raises(UsageError, match=r"nothing answers.*AWS_ENDPOINT_URL"):
        Store("s3://bucket/work").check_writable()


def test_the_endpoint_is_no_address(monkeypatch):
    use(environment("nonsense", "key", "secret"), monkeypatch)
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL"):
        Store("s3://bucket/work").check_writable()


def test_a_server_that_goes_away_is_worth_another_attempt(s3, monkeypatch, quick):
    """One that has answered before is down, not misspelt."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        use(environment(f"http://127.0.0.1:{port}", "key", "secret"), monkeypatch)

        def answer_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nETag: "0"\r\n\r\n')

        thread = threading.Thread(target=answer_once)
        thread.start()
        store = Store("s3://bucket/work")
        store.write("a", b"x")
        thread.join()
    with pytest.raises(StoreError, match="nothing answers"):
        store.write("a", b"x")


def test_a_server_that_hangs_up(monkeypatch, quick):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use(environment(f"http://127.0.0.1:{listener.getsockname()[1]}", "key", "secret"), monkeypatch)
        calls = []

        # aiohttp connects once more by itself.
        def hang_up() -> None:
            for _ in range(2 * TRIES):
                connection, _ = listener.accept()
                calls.append(connection.recv(65536))
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(StoreError, match="connection failed"):
            Store("s3://bucket/work").write("a", b"x")
        thread.join()
    assert len(calls) == 2 * TRIES


@pytest.mark.parametrize("reads", [True, False])
def test_a_server_that_falls_silent(monkeypatch, quick, reads):
    """Whether it has taken the request and does not answer, or does not even take it in."""
    monkeypatch.setattr(s3_client, "TRIES", 2)
    monkeypatch.setattr(s3_client, "SILENCE", 0.5)
    monkeypatch.setattr(s3_client, "CONNECT", 0.5)
    monkeypatch.setattr(s3_client, "SLOWEST", 64 * MIB)
    monkeypatch.setitem(s3_client._SETTINGS, "read_timeout", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use(environment(f"http://127.0.0.1:{listener.getsockname()[1]}", "key", "secret"), monkeypatch)
        held = []

        def accept() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                held.append(connection)
                while reads and len(connection.recv(2**20)) == 2**20:
                    pass

        thread = threading.Thread(target=accept)
        thread.start()
        started = time.monotonic()
        with pytest.raises(StoreError, match="connection failed"):
            Store("s3://bucket/work").write("a", bytes(32 * MIB))
        assert time.monotonic() - started < 8
        thread.join()
        for connection in held:
            connection.close()


def test_a_server_that_sends_a_byte_now_and_then(monkeypatch, quick):
    """It is never silent, and would take a day for a block."""
    monkeypatch.setattr(s3_client, "TRIES", 2)
    monkeypatch.setattr(s3_client, "SILENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use(environment(f"http://127.0.0.1:{listener.getsockname()[1]}", "key", "secret"), monkeypatch)
        over = threading.Event()

        def drip(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "x"\r\n\r\n')
                while not over.wait(0.1):
                    connection.sendall(b"x")

        drips = []

        def accept() -> None:
            for _ in range(2):
                drips.append(threading.Thread(target=drip, args=(listener.accept()[0],)))
                drips[-1].start()

        thread = threading.Thread(target=accept)
        thread.start()
        started = time.monotonic()
        with pytest.raises(StoreError, match="connection failed"):
            Store("s3://bucket/work").read("a")
        assert time.monotonic() - started < 20
        over.set()
        for each in (thread, *drips):
            each.join()


def test_the_password_of_a_proxy_is_not_repeated():
    refused = ProxyConnectionError(proxy_url="http://somebody:topsecret@proxy.example:3128")
    said = str(explain(refused, "s3://bucket/work/a (reading)"))
    assert "//proxy.example:3128" in said
    assert "topsecret" not in said and "somebody" not in said


def test_an_endpoint_that_is_some_other_web_server(monkeypatch, quick):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use(environment(f"http://127.0.0.1:{listener.getsockname()[1]}", "key", "secret"), monkeypatch)

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                body = b"<html><body>Not here</body></html>"
                head = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(body) + body)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(UsageError, match="AWS_ENDPOINT_URL"):
            Store("s3://bucket/work").write("a", b"x")
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (400, "ExpiredToken", "have expired. Log in again"),
        (403, "RequestTimeTooSkewed", "clock"),
        (301, "PermanentRedirect", "AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION"),
        (501, "NotImplemented", "lacks a part of S3"),
        (400, "KeyTooLongError", "1024 bytes"),
        (400, "SomethingNew", "does not accept"),
    ],
)
def test_what_only_a_person_can_put_right(store, monkeypatch, status, code, sentence):
    requests = Requests(monkeypatch, put_object=always(server_error(status, code)))
    with pytest.raises(UsageError, match=sentence):
        store.write("a", b"x")
    assert requests.made == ["put_object"]


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (502, "502"), (400, "RequestTimeout"), (429, "429")]
)
def test_what_may_pass_is_tried_again_and_not_for_ever(store, monkeypatch, quick, caplog, status, code):
    caplog.set_level(logging.INFO, "tasks.store")
    requests = Requests(monkeypatch, put_object=always(server_error(status, code)))
    with pytest.raises(StoreError, match=r"s3://.*/a \(put_object\)"):
        store.write("a", b"x")
    assert requests.made == ["put_object"] * TRIES
    assert f"attempt {TRIES - 1} of {TRIES}" in caplog.text


def test_attempts_are_spaced_out(store, monkeypatch):
    monkeypatch.setattr(s3_client, "PAUSE", 0.1)
    requests = Requests(monkeypatch, put_object=at_first(server_error(503, "SlowDown"), times=3))
    started = time.monotonic()
    store.write("a", b"x")
    assert len(requests.made) == 4
    assert 0.35 <= time.monotonic() - started < 3


def test_a_full_server_is_not_asked_again(store, monkeypatch):
    requests = Requests(monkeypatch, put_object=always(server_error(507, "XMinioStorageFull")))
    with pytest.raises(StoreFull, match="No space left"):
        store.write("a", b"x")
    assert requests.made == ["put_object"]


def test_a_reader_cannot_write(store, s3, monkeypatch, tmp_path):
    store.write("a", b"x")
    use(s3.server.reader_env, monkeypatch)
    operations = every_operation(store, tmp_path / "local")
    reading = ["read", "open", "exists", "size", "list", "digest", "fingerprint"]
    for name in reading:
        operations.pop(name)()
    assert not operations.pop("create")()
    operations["create"] = lambda: store.create("b", b"x")
    refused(operations, "AccessDenied.*Grant them the permission")
    assert keys_on_server(s3) == ["a"]


def test_a_profile_from_the_shared_files(s3, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text("[films]\naws_access_key_id=testkey\naws_secret_access_key=testsecret\n")
    (tmp_path / "config").write_text(f"[profile films]\nregion=eu-west-1\nendpoint_url={s3.server.endpoint}\n")
    files = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    use(files | {"AWS_PROFILE": "films"}, monkeypatch)
    Store(s3.root).check_writable()
    use(files | {"AWS_PROFILE": "series"}, monkeypatch)
    with pytest.raises(UsageError, match="series"):
        Store(s3.root).check_writable()


def test_the_endpoint_may_be_that_of_s3_alone(s3, monkeypatch):
    elsewhere = {k: v for k, v in s3.server.env.items() if k not in ("AWS_ENDPOINT_URL", "AWS_REGION")}
    use(elsewhere | {"AWS_ENDPOINT_URL_S3": s3.server.endpoint}, monkeypatch)
    Store(s3.root).check_writable()


def test_no_headers_that_servers_stumble_over(store, monkeypatch):
    """Older radosgw and MinIO refuse trailing checksums; and aiohttp waits for ever for what Expect asks for."""
    sent = []
    client().s3.meta.events.register("before-send.s3.*", lambda request, **_: sent.append(request.headers))
    store.write("a", b"x")
    assert sent
    for headers in sent:
        assert "Expect" not in headers
        assert b"aws-chunked" not in str(headers).encode()
        assert not [name for name in headers if name.lower().startswith("x-amz-checksum")]


def test_the_client_is_ours():
    assert Client.retries == 1, "s3fs must not repeat what we repeat"


def test_the_server_decodes_nothing_twice(store, s3):
    """A key that looks percent-encoded is a key of its own."""
    store.write("a%20b", b"encoded")
    store.write("a b", b"plain")
    assert store.read("a%20b") == b"encoded"
    assert {urllib.parse.unquote(key) for key in keys_on_server(s3)} == {"a b"}
    assert store.list() == ["a b", "a%20b"]
