"""Names become networks, and wrong names become helpful sentences."""

from __future__ import annotations

import pytest

from vsr_model.contract import ModelRef, Placement
from vsr_model.errors import UnknownModel, WeightsError
from vsr_model.registry import find, load, models


def test_every_listed_model_can_be_found_by_its_name() -> None:
    names = [entry.info.name for entry in models()]
    assert len(set(names)) == len(names)
    assert {"bicubic", "lanczos"} <= set(names)
    for entry in models():
        assert find(entry.info.name).info == entry.info
        assert entry.info.summary


def test_a_classical_model_has_no_weights() -> None:
    assert find("lanczos").reference() == ModelRef(name="lanczos")
    assert load("lanczos", Placement()).info.name == "lanczos"


def test_the_placement_decides_the_device() -> None:
    assert load("bicubic", Placement(device="meta")).device.type == "meta"


@pytest.mark.parametrize("name", ["lanzcos", "Lanczos", "lanczos3"])
def test_a_slip_is_answered_with_the_nearest_name(name: str) -> None:
    with pytest.raises(UnknownModel, match=rf"{name}.*did you mean lanczos\?.*bicubic, lanczos.*\.safetensors"):
        find(name)


def test_a_name_like_nothing_lists_what_there_is() -> None:
    with pytest.raises(UnknownModel, match=r"'': Known are bicubic, lanczos"):
        find("")


@pytest.mark.parametrize("name", ["models/none", "./lanczos", "none.pth", "none.PT", "none.ckpt", "none.safetensors"])
def test_what_looks_like_a_path_is_taken_for_one(name: str) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        find(name)
