"""One model for the command line and Prefect's form: the same words, ranges and defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from flows import environment
from flows.cli import main, parser
from flows.deployments import deployments, for_pool, library_name, parameters
from flows.described import words
from flows.library import remaster_library
from flows.request import Cleaning, Preview, Request, Rerun
from flows.run import Run
from tasks.profile import Profile, read_profile

ROOT = Path(__file__).resolve().parents[2]


def arguments(command: str) -> dict[str, argparse.Action]:
    (commands,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {action.dest: action for action in commands.choices[command]._actions}


@pytest.mark.parametrize(
    ("command", "model"), [("run", Request), ("rerun", Rerun), ("clean", Cleaning), ("preview", Preview)]
)
def test_the_command_says_what_the_form_says(command: str, model: type[Request]) -> None:
    known = arguments(command)
    names = {"shards": "shard"}
    for name in set(model.model_fields) - ({"store"} if model is Preview else set()):
        action = known[names.get(name, name)]
        assert action.help is not None and action.help.startswith(words(model, name)), name


def test_the_profile_s_own_options_say_what_its_settings_say() -> None:
    known = arguments("run")
    for name in ("model", "scale", "video_stream"):
        assert str(known[name].help).startswith(words(Profile, name)), name


def test_the_defaults_of_the_command_are_those_of_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REMASTER_STORE", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    given = parser().parse_args(["run", "/in", "/out"])
    for name, field in Request.model_fields.items():
        if not field.is_required():
            assert getattr(given, name) == field.get_default(call_default_factory=True), name


def test_what_is_out_of_range_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--workers", "-1"), ("--settle", "-1"), ("--settle", "86401")):
        assert main(["run", str(tmp_path), str(tmp_path / "out"), option, value]) == 2
        assert f"{option[2:]} = {float(value):g}" in capsys.readouterr().err.replace(".0", "")


def test_the_form_has_what_a_person_may_ask_and_nothing_else() -> None:
    run = parameter_schema(remaster_library).model_dump()["definitions"]["Run"]
    assert set(run["properties"]) == {*Request.model_fields, "profile"}
    assert set(run["required"]) == {"library", "output", "profile"}
    assert all(field.get("description") for field in run["properties"].values())
    assert (run["properties"]["settle"]["minimum"], run["properties"]["settle"]["maximum"]) == (0, 86_400)


def test_a_night_s_parameters_are_the_run_that_was_asked_for() -> None:
    run = Run(library="/films", output="/masters", profile=read_profile("archive", {"scale": 2}), settle=60.0)
    assert Run.model_validate(parameters(run)) == run


def test_the_store_lies_beside_the_masters_unless_it_is_named(tmp_path: Path) -> None:
    assert Run(library="/films", output="s3://out/masters", profile=Profile()).store == "s3://out/masters/.remaster"
    assert Run(library="/films", output="/out", store=str(tmp_path), profile=Profile()).store == str(tmp_path)


def test_names_in_prefect_are_made_of_what_it_takes() -> None:
    assert [library_name(n) for n in ("/mnt/Season 1 & 2", "s3://bucket", "/films/x.mkv", "/")] == [
        "Season-1-2", "bucket", "x.mkv", "library",
    ]  # fmt: skip


def test_a_pools_workers_know_themselves_which_ray_they_join() -> None:
    """A deployment that named no cluster may still be run where there is one, with a token."""
    run = Run(library="/library", output="/out", ray_address="", profile=Profile())
    for deployment in deployments(run, "", "UTC"):
        env = for_pool(deployment, "gpus").job_variables["env"]
        assert env == environment.defaults()
        assert not {"RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_ADDRESS"} & set(env)


def test_the_file_for_prefect_s_own_command_has_the_same_deployments() -> None:
    """But for what is the installation's: places, pool, and when the night begins."""
    written = yaml.safe_load((ROOT / "infra/prefect.yaml").read_text())["deployments"]
    made = deployments(
        Run(library="/library", output="/out", profile=Profile(), settle=60.0, new_only=True), "0 2 * * *", "UTC"
    )
    for file, deployment in zip(written, made, strict=True):
        assert file["name"] == deployment.name
        assert file["work_pool"]["job_variables"] == for_pool(deployment, "gpus").job_variables
        assert file["entrypoint"] == deployment.entrypoint
        assert file["description"] == deployment.description
        assert file["tags"] == deployment.tags
        assert file["concurrency_limit"]["limit"] == deployment.concurrency_limit
        assert (
            file["concurrency_limit"]["collision_strategy"] == deployment.concurrency_options.collision_strategy.value
        )  # type: ignore[union-attr]
        for group, filled_in in file["parameters"].items():
            assert set(filled_in) <= {*deployment.parameters[group], "ray_address"}
            for name in ("new_only", "settle"):
                assert filled_in.get(name, 0) == deployment.parameters[group].get(name, 0)
        (schedule,) = file.get("schedules") or [None]
        assert bool(schedule) == bool(deployment.schedules)
