"""A result of Prefect's is handed out as it was filed, and only while it and the bytes that it speaks of are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer

from flows.results import StoreResults, shard_cache_key
from tasks.records import to_json
from tasks.seal import opened
from tests import mastered
from tests.mastered import Mastered, flip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    root = tmp_path_factory.mktemp("results")
    return mastered.remaster(mastered.library(root / "films"), str(root / "out"), str(root / "store"))


@pytest.fixture
def filed(done: Mastered) -> tuple[str, bytes, Path]:
    """Its name, what Prefect gave us, and where that is."""
    name = shard_cache_key(done.records[0].key)
    metadata = ResultRecordMetadata(serializer=JSONSerializer(), storage_key=name)
    content = ResultRecord(result=to_json(done.records[0]).decode(), metadata=metadata).serialize()
    StoreResults(root=done.store).write_path(name, content)
    return name, content, Path(done.store, "results", name)


def test_what_was_filed_comes_back(done: Mastered, filed: tuple[str, bytes, Path]) -> None:
    name, content, _ = filed
    again = StoreResults(root=done.store).read_path(name)
    assert ResultRecord.deserialize(again) == ResultRecord.deserialize(content)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_one_with_a_changed_byte_is_none(share: float, done: Mastered, filed: tuple[str, bytes, Path]) -> None:
    name, _, file = filed
    flip(file, int(share * (file.stat().st_size - 1)))
    with pytest.raises(FileNotFoundError, match="damaged"):
        StoreResults(root=done.store).read_path(name)


def test_one_of_an_older_version_is_believed_as_far_as_the_bytes(
    done: Mastered, filed: tuple[str, bytes, Path]
) -> None:
    name, content, file = filed
    file.write_bytes(content)
    assert StoreResults(root=done.store).read_path(name) == content
    segment = Path(done.store, done.records[0].segment)
    whole = segment.read_bytes()
    flip(segment, 400)
    with pytest.raises(FileNotFoundError, match="gone or changed"):
        StoreResults(root=done.store).read_path(name)
    segment.write_bytes(whole)
    assert opened(content) == content
