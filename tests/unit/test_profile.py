"""Profiles: what is written is what is done, and what is not known is not guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.errors import UsageError
from tasks.media.picture.pixels import Layout
from tasks.media.writing.codecs import master_layout
from tasks.media.writing.encode import require_encodable
from tasks.profile import Profile, built_in_profiles, read_profile, setting_names


def written(folder: Path, text: str) -> str:
    path = folder / "archive.toml"
    path.write_text(text)
    return str(path)


def test_a_file_and_single_settings_over_it(tmp_path: Path) -> None:
    path = written(tmp_path, 'scale = 2\n[master]\ncodec = "ffv1"\noptions = { slices = 4 }\n[retry]\nattempts = 7\n')
    profile = read_profile(path, {"scale": 3, "master.preset": None, "shards.frames": 99, "master.chroma": 444})
    assert (profile.scale, profile.shards.frames, profile.retry.attempts) == (3, 99, 7)
    assert (profile.master.codec, profile.master.chroma, profile.master.options) == ("ffv1", "444", {"slices": "4"})


def test_nothing_given_is_the_default() -> None:
    assert read_profile(None, {"model": None}) == Profile()


def test_built_in_profiles_go_by_name_and_single_settings_win_over_them() -> None:
    assert built_in_profiles() == ["archive", "broadcast", "editing", "web"]
    codecs = {name: read_profile(name, {}).master.codec for name in built_in_profiles()}
    assert codecs == {"archive": "ffv1", "broadcast": "h264", "editing": "prores", "web": "av1"}
    changed = read_profile("broadcast", {"master.quality": 20, "master.options.tune": "film"}).master
    assert (changed.quality, changed.preset, changed.options["tune"]) == (20, "medium", "film")
    assert "keyint=12" in changed.options["x264-params"]


@pytest.mark.parametrize("name", built_in_profiles())
def test_encoders_take_what_the_built_in_profiles_say(name: str) -> None:
    settings = read_profile(name, {}).master.encoding()
    layout = master_layout(settings, Layout("yuv", 8, 1, 1), "film")
    require_encodable(settings, 1080, 1920, layout, "film")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"scale": 0}, "scale = 0: ask for a number from 1 to 4, such as 2, 1.5 or 4/3"),
        ({"scale": 4.01}, "scale = 4.01: ask for a number from 1 to 4, such as 2, 1.5 or 4/3"),
        ({"scale": True}, "scale = True"),
        ({"scale": "two"}, "scale = 'two'"),
        ({"scael": 2}, "unknown setting scael; did you mean scale?"),
        ({"master.codek": "ffv1"}, "unknown setting master.codek; did you mean master.codec?"),
        ({"attempts": 1}, "unknown setting attempts; did you mean retry.attempts?"),
        ({"xyzzy": 1}, "unknown setting xyzzy; known settings: model, scale"),
        ({"master.codec": "mpeg2"}, "master.codec = 'mpeg2'"),
        ({"master": 1}, "master = 1: is a section of settings"),
        ({"scale": 2, "scale.x": 1}, "unknown setting scale.x; scale is a setting of its own"),
        ({"master.codec": "av1", "master.container": "mov"}, "mov does not hold av1; choose mp4 or mkv"),
        ({"check.picture": "hold", "master.codec": "dpx"}, "masters of dpx are many files"),
        ({"shards.frames": -1}, "shards.frames = -1"),
        ({"check.fidelity": -1}, "check.fidelity = -1"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_do(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        read_profile(None, overrides)
    assert words in str(error.value)


def test_an_unknown_key_in_a_file_names_the_nearest_one_and_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[shards]\nframe = 100\n")
    with pytest.raises(
        UsageError, match=r"archive\.toml: unknown setting shards\.frame; did you mean shards\.frames\?"
    ):
        read_profile(path, {})


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)scale = 9.*unknown setting nonsense"):
        read_profile(written(tmp_path, "scale = 9\nnonsense = 1\n"), {})


@pytest.mark.parametrize("text", ["scale = ", "scale: 4", "\x00"])
def test_a_file_that_is_not_toml(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"archive\.toml: is not valid TOML"):
        read_profile(written(tmp_path, text), {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read \(No such file"):
        read_profile(str(tmp_path / "none.toml"), {})


def test_a_profile_survives_json() -> None:
    profile = read_profile(None, {"scale": 2, "master.options.tune": "film", "retry.delay": 0.5})
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_spellings_of_a_scale_are_one_and_a_whole_one_is_a_number(tmp_path: Path) -> None:
    for spelled, wanted in (("2", 2), ("2.0", 2), ('"4/2"', 2), ("1.5", "1.5"), ('"3/2"', "1.5"), ('"4/3"', "4/3")):
        profile = read_profile(written(tmp_path, f"scale = {spelled}\n"), {})
        assert profile.model_dump()["scale"] == wanted and type(profile.scale) is type(wanted)
        assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_every_setting_has_a_sentence_for_people() -> None:
    for name in setting_names():
        model: Any = Profile
        *sections, key = name.split(".")
        for section in sections:
            model = model.model_fields[section].annotation
        assert model.model_fields[key].description, name
