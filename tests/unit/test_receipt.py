"""A receipt says what a master is made of, is the same to the byte each time, and proves itself; a key proves who."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tasks.check import check_master
from tasks.errors import UsageError
from tasks.media.reading.checksums import count_frames, frame_checksums
from tasks.media.reading.source import Source
from tasks.pictures import pictures_of
from tasks.receipt import from_bytes, make_receipt, require_signed, to_bytes
from tasks.records import Record, from_sealed, to_json
from tasks.seal import opened, sealed
from tasks.signing import VARIABLE, read_public_key, signer
from tasks.store import Store, fingerprint
from tests import mastered
from tests.clips import Clip, make
from tests.contract import file_hash
from tests.mastered import TITLE, Mastered

PLACE = f"{TITLE}.receipt.json"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mastered.library(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def done(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    place = tmp_path_factory.mktemp("unsigned")
    return mastered.remaster(films, str(place / "out"), str(place / "store"))


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a key pair, which runs sign with."""
    write_keys(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "key.pem"))
    return tmp_path


def write_keys(folder: Path) -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(pem)
    (folder / "public.pem").write_bytes(public)


def test_it_says_what_the_master_is_and_what_it_was_made_of(films: Path, done: Mastered) -> None:
    held = json.loads((Path(done.output) / PLACE).read_bytes())
    source = films / TITLE
    master = Path(done.output) / TITLE
    assert held["source"] == {"name": TITLE, "blake2b": fingerprint(str(source)), "size": source.stat().st_size}
    assert (held["master"]["name"], held["master"]["sha256"]) == (TITLE, file_hash(master))
    assert (held["master"]["size"], held["master"]["frames"]) == (master.stat().st_size, 25)
    assert len(set(held["master"]["checksums"])) == 25
    assert [(s["start"], s["stop"]) for s in held["shards"]] == [(s.start, s.stop) for s in done.plan.shards]
    for line, record in zip(held["shards"], done.records, strict=True):
        assert (line["key"], line["segment"]) == (record.key, file_hash(Path(done.store) / record.segment))
        assert "made" not in line and "rung" not in line
    assert held["model"]["name"] == "lanczos"
    assert held["profile"] == done.profile.model_dump(mode="json", exclude={"cost"})
    assert set(held["software"]["master"]) == {"remaster", "torch", "av", "ffmpeg", "python"}
    assert held["software"]["shards"] == [held["software"]["master"]]
    assert (held["check"], held["signature"]) == ([], "unsigned")


def test_a_shard_that_was_not_made_as_asked_is_named(done: Mastered) -> None:
    records = [*done.records[:-1], replace(done.records[-1], rung=4, made="lanczos resize")]
    check = check_master(done.plan, done.profile, done.master, records, None)
    receipt = make_receipt(
        done.plan, done.profile, records, done.master, check, pictures_of(done.master, Store(done.store))
    )
    held = json.loads(to_bytes(receipt))
    assert (held["shards"][-1]["rung"], held["shards"][-1]["made"]) == (4, "lanczos resize")
    assert "lanczos resize" in held["check"][0]


def test_the_same_made_elsewhere_has_the_same_receipt_to_the_byte(films: Path, done: Mastered, tmp_path: Path) -> None:
    again = mastered.remaster(films, str(tmp_path / "elsewhere"), str(tmp_path / "store"), run="20270101-000000-bbbb")
    assert (Path(again.output) / PLACE).read_bytes() == (Path(done.output) / PLACE).read_bytes()


def test_it_names_no_place(films: Path, done: Mastered) -> None:
    text = (Path(done.output) / PLACE).read_text()
    assert str(films) not in text
    assert done.output not in text
    assert done.store not in text


def test_any_changed_byte_shows(done: Mastered) -> None:
    whole = (Path(done.output) / PLACE).read_bytes()
    assert from_bytes(whole) == done.receipt
    for offset in range(len(whole)):
        for by in (1, 0x20):
            data = bytearray(whole)
            data[offset] ^= by
            with pytest.raises(ValueError, match=r"\w"):
                from_bytes(bytes(data))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"\w"):
            from_bytes(whole[:length])


def test_any_changed_byte_of_a_record_shows(done: Mastered) -> None:
    whole = Store(done.store).read(done.plan.shards[0].record)
    assert from_sealed(Record, whole) == done.records[0]
    for offset in range(len(whole)):
        for by in (1, 0x20):
            data = bytearray(whole)
            data[offset] ^= by
            with pytest.raises(ValueError, match=r"\w"):
                from_sealed(Record, bytes(data))


def test_a_record_of_an_older_version_has_no_seal_and_is_believed(done: Mastered) -> None:
    opened(to_json(done.records[0]))


def test_the_checksums_are_those_that_ffmpeg_prints(done: Mastered) -> None:
    master = Path(done.output) / TITLE
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-noautorotate", "-i", str(master), "-map", "0:0"]
    command += ["-fps_mode", "passthrough", "-f", "framehash", "-hash", "crc32", "-"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = [line.split(",")[-1].strip() for line in printed.splitlines() if not line.startswith("#")]
    assert theirs == done.receipt.master.checksums


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp10le", "gray"])
def test_every_sample_of_every_plane_counts(pix_fmt: str, tmp_path: Path) -> None:
    clip = Clip(frames=3, width=50, height=38, codec="ffv1", pix_fmt=pix_fmt, audio="", colour=(0, 1, 1, 2))
    path = make(tmp_path / "film.mkv", clip)
    source = Source(str(path), "film")
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(path),
        "-f",
        "framehash",
        "-hash",
        "crc32",
        "-",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = [line.split(",")[-1].strip() for line in printed.splitlines() if not line.startswith("#")]
    assert list(frame_checksums(source, 0)) == theirs
    assert count_frames(source, 0) == 3


def test_without_a_key_it_is_unsigned_and_no_signature_can_be_asked_of_it(done: Mastered) -> None:
    require_signed(done.receipt)
    with pytest.raises(ValueError, match="is not signed"):
        require_signed(done.receipt, "some key")


def test_with_a_key_it_is_signed_and_the_same_each_time(films: Path, key: Path, tmp_path: Path) -> None:
    place = Path(mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store")).output) / PLACE
    first = place.read_bytes()
    held = from_bytes(first)
    public = read_public_key(str(key / "public.pem"))
    require_signed(held, public)
    place.unlink()
    mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store"))
    assert place.read_bytes() == first


def test_another_keys_signature_is_told_from_ours(films: Path, key: Path, tmp_path: Path) -> None:
    place = Path(mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store")).output) / PLACE
    held = from_bytes(place.read_bytes())
    write_keys(tmp_path)
    with pytest.raises(ValueError, match="signed by another key"):
        require_signed(held, read_public_key(str(tmp_path / "public.pem")))


def test_who_changes_a_signed_receipt_and_seals_it_anew_is_found_out(films: Path, key: Path, tmp_path: Path) -> None:
    place = Path(mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store")).output) / PLACE
    held = from_bytes(place.read_bytes())
    forged = held.model_copy(update={"source": held.source.model_copy(update={"name": "another film.mkv"})})
    with pytest.raises(ValueError, match="signature"):
        require_signed(from_bytes(to_bytes(forged)))


def test_a_run_without_the_key_leaves_a_signature_where_it_is(
    films: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store")).output) / PLACE
    first = place.read_bytes()
    monkeypatch.delenv(VARIABLE)
    mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store"))
    assert place.read_bytes() == first
    mastered.flip(place, 300)
    mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store"))
    assert from_bytes(place.read_bytes()).signature == "unsigned"


def test_checksums_that_were_lost_or_damaged_are_taken_anew(films: Path, done: Mastered, tmp_path: Path) -> None:
    shutil.copytree(done.store, tmp_path / "store")
    (kept,) = (tmp_path / "store" / "pictures").rglob("*.json")
    mastered.flip(kept, 100)
    mastered.remaster(films, done.output, str(tmp_path / "store"))
    opened(kept.read_bytes())
    assert (Path(done.output) / PLACE).read_bytes() == to_bytes(done.receipt)


def test_the_key_may_be_the_pem_itself(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_path = signer()
    monkeypatch.setenv(VARIABLE, (key / "key.pem").read_text())
    inline = signer()
    assert by_path is not None and inline is not None
    assert by_path.public_key == inline.public_key == read_public_key(str(key / "public.pem"))


def test_a_key_that_is_none_is_refused_without_being_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere.pem"))
    with pytest.raises(UsageError, match="cannot be read"):
        signer()
    monkeypatch.setenv(VARIABLE, "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----")
    with pytest.raises(UsageError, match="not an unencrypted private key") as caught:
        signer()
    assert "secret" not in str(caught.value)
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    monkeypatch.setenv(VARIABLE, other.decode())
    with pytest.raises(UsageError, match="another kind"):
        signer()
    (tmp_path / "odd.pem").write_text("no key")
    with pytest.raises(UsageError, match="not a public key"):
        read_public_key(str(tmp_path / "odd.pem"))


def test_a_receipt_of_a_later_version_is_refused_in_words(done: Mastered) -> None:
    later = json.loads(to_bytes(done.receipt)) | {"novelty": 1}
    del later["seal"]
    with pytest.raises(ValueError, match="not a receipt of this version"):
        from_bytes(sealed(json.dumps(later, indent=1).encode()))
