"""Closed captions: carried by codecs that hold them, and known to be lost by others before anything is upscaled."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.reading.source import Source
from tasks.media.writing.captions import CAPTIONED, uncaptioned
from tasks.media.writing.codecs import Codec
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.store import Store
from tests import mastered
from tests.torture import captioned

NOT_CARRIED = (
    "the source's closed captions are not carried: {} masters are written without; those of h264 and h265 hold them"
)


@pytest.mark.parametrize("codec", ["av1", "ffv1", "png", "h264"])
def test_the_check_agrees_with_what_was_said_before(codec: str, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    source = captioned(tmp_path / "films" / "film.mp4")
    settings = {"master.codec": codec, "master.preset": "12" if codec == "av1" else None}
    profile = read_profile(None, mastered.SETTINGS | settings)
    (title,) = scan(str(source), str(tmp_path / "out"), profile)
    said = [
        remark for remark in remarks(plan_title(title, profile, Store(str(tmp_path / "plans")))) if "caption" in remark
    ]
    assert said == ([] if codec in CAPTIONED else [NOT_CARRIED.format(codec)])
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [(name, seen) for name, ok, seen in check.lines if not ok] == []
    (seen,) = [seen for name, _, seen in check.lines if name == "closed captions"]
    assert ("not carried" in seen) is bool(said), seen
    if codec != "png":
        rows = {row.name: row for row in compare(Source(str(source), "film"), Source(done.master.uri, "master"))}
        assert rows["closed captions"].verdict == ("lost" if said else "kept")


def test_every_codec_is_known_to_hold_them_or_not() -> None:
    assert {codec for codec in get_args(Codec) if not uncaptioned(codec)} == CAPTIONED


def test_a_source_without_any_is_not_spoken_of(tmp_path: Path) -> None:
    folder = mastered.library(tmp_path / "films")
    profile = read_profile(None, {"master.codec": "ffv1"})
    (title,) = scan(str(folder), str(tmp_path / "out"), profile)
    plan = plan_title(title, profile, Store(str(tmp_path / "store")))
    assert not any("caption" in remark for remark in remarks(plan))
