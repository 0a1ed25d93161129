"""Names of files: one spelling each, no way out of a root, and every odd character kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.errors import UsageError
from tasks.store import is_remote, join, normalise, open_read
from tasks.store.uri import filesystem
from tests.odd_names import ODD_NAMES


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("//a///b/./c/../d", "/a/b/d"),
        ("/", "/"),
        ("file:///a/b", "/a/b"),
        ("file://localhost/a/b/", "/a/b"),
        ("FILE:///a", "/a"),
        ("file:///a%20b%23c%3F%25", "/a b#c?%"),
        ("file:///a#b?c", "/a#b?c"),
        ("file:///a%FF", "/a\udcff"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/b//", "s3://bucket/a/b"),
        ("s3://bucket/a%20b c#d?e", "s3://bucket/a%20b c#d?e"),
    ],
)
def test_each_place_has_one_spelling(given, normal):
    assert normalise(given) == normal
    assert normalise(normal) == normal


def test_a_relative_path_is_taken_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    assert normalise("films/a.mkv") == f"{here}/films/a.mkv"
    assert normalise(".") == here
    assert normalise(Path("a.mkv")) == f"{here}/a.mkv"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_characters_survive(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert normalise(f"/films/{name}") == f"/films/{name}"
    assert normalise(name) == f"{os.getcwd()}/{name}"
    assert normalise(f"s3://bucket/{name}") == f"s3://bucket/{name}"
    assert join("/films", name) == f"/films/{name}"
    assert normalise((tmp_path / name).as_uri()) == f"{tmp_path}/{name}"


@pytest.mark.parametrize("name", ["http://host/a", "gs://bucket/a", "s3a://bucket/a", "memory://a", "ftp://h/x"])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(name):
    with pytest.raises(UsageError, match="not handled") as refused:
        normalise(name)
    assert "file://" in str(refused.value)
    assert "s3://" in str(refused.value)


@pytest.mark.parametrize(
    "name", ["", "a\0b", "s3://", "s3:///key", "file://host/a", "file://relative", "file:///a%00b"]
)
def test_a_name_that_cannot_be_anywhere_is_refused(name):
    with pytest.raises(UsageError):
        normalise(name)


def test_a_uri_that_went_through_pathlib_is_recognised():
    with pytest.raises(UsageError, match="lost a slash"):
        normalise(Path("s3://bucket/films"))


@pytest.mark.parametrize("root", ["/work", "s3://bucket", "s3://bucket/work", "/"])
def test_join_stays_below_the_root(root):
    below = root.rstrip("/")
    assert join(root) == root
    assert join(root, "a") == f"{below}/a"
    assert join(root, "a/b", "c.json") == f"{below}/a/b/c.json"
    for part in ["", "/a", "..", "../a", "a/..", "a/../b", ".", "./a", "a//b", "a/", "a\0"]:
        with pytest.raises(UsageError, match="not a path below"):
            join(root, part)
        with pytest.raises(UsageError, match="not a path below"):
            join(root, "fine", part)


def test_is_remote():
    assert is_remote("s3://bucket/a")
    assert not is_remote("/s3:/a")


def test_open_read_of_a_local_file_seeks(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    with open_read(str(tmp_path / "a")) as file:
        assert file.seek(-10, os.SEEK_END) == 90
        assert file.read(3) == bytes([90, 91, 92])


def test_open_read_says_what_is_missing(tmp_path):
    for missing in [tmp_path / "none", tmp_path, tmp_path / "none" / "deeper"]:
        with pytest.raises(FileNotFoundError, match=tmp_path.name):
            open_read(str(missing))


def test_a_named_pipe_is_no_file_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        open_read(str(tmp_path / "pipe"))


def test_the_local_file_system(tmp_path):
    (tmp_path / "a b#c").write_bytes(b"x")
    fs, path = filesystem(str(tmp_path / "a b#c"))
    assert fs.cat_file(path) == b"x"


def test_a_name_with_a_secret_in_it_is_refused_without_telling_it():
    for name in (
        "s3://AKIAKEY:topsecret@bucket/films",
        "https://me:topsecret@host/films",
        "file://me:topsecret@host/x",
    ):
        with pytest.raises(UsageError, match="must not hold a key") as refused:
            normalise(name)
        assert "topsecret" not in str(refused.value)
    assert normalise("s3://bucket/who@where.mkv") == "s3://bucket/who@where.mkv"
