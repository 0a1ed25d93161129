"""A sealed file of any kind shows every change of a byte, the seal's own included; older ones without a seal pass."""

from __future__ import annotations

import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import seal
from tasks.tables import estimates_table, read_table, read_timeline_table

PAGE = "<!doctype html>\n<p>ünique</p>\n"
OBJECT = b'{\n "name": "a film",\n "frames": 25\n}'
TABLE = estimates_table(
    [{"title": "a film", "frames": 25}, {"title": "remaster.seal", "refused": "sha256:" + 64 * "f"}]
)

KINDS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "JSON": (seal.sealed(OBJECT), seal.opened),
    "page": (seal.sealed_page(PAGE), seal.opened_page),
    "table": (TABLE, seal.opened_table),
    "bytes": (seal.sealed_bytes(b"anything"), seal.opened_bytes),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [0x01, 0x20, 0x80])
def test_every_changed_byte_shows(kind: str, by: int) -> None:
    data, prove = KINDS[kind]
    prove(data)
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= by
        with pytest.raises(ValueError, match=r"."):
            prove(bytes(changed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sealed_file_is_told_from_one_that_is_not(kind: str) -> None:
    assert seal.has_seal(KINDS[kind][0])


def test_a_table_cut_short_is_none() -> None:
    for length in range(len(TABLE)):
        with pytest.raises(ValueError, match=r"."):
            read_table(TABLE[:length])


def test_what_was_sealed_comes_back() -> None:
    assert seal.opened(seal.sealed(OBJECT)) == OBJECT
    assert seal.opened_page(seal.sealed_page(PAGE)) == PAGE
    assert seal.opened_bytes(seal.sealed_bytes(b"anything")) == b"anything"
    assert read_table(TABLE)["title"].to_pylist() == ["a film", "remaster.seal"]


def test_a_sealed_table_is_one_to_any_tool() -> None:
    assert pq.read_table(io.BytesIO(TABLE))["frames"].to_pylist() == [25, None]


def test_older_files_without_a_seal_pass_where_nothing_else_can_say_what_they_do() -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"title": ["a film"]}), table)
    assert seal.opened(OBJECT) == OBJECT
    assert seal.opened_page(PAGE.encode()) == PAGE
    assert read_table(table.getvalue())["title"].to_pylist() == ["a film"]
    assert not any(map(seal.has_seal, (OBJECT, PAGE.encode(), table.getvalue())))
    with pytest.raises(ValueError, match="has no seal"):
        read_timeline_table(table.getvalue())  # it can be made anew


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no table"])
def test_what_is_no_table_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="is no Parquet file"):
        read_table(data)
