"""One model for the command line and Prefect's form: the same words, ranges and defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel

from flows import environment
from flows.arguments import REPEATED
from flows.cli import main, parser
from flows.deployments import deployments, for_pool, library_name, parameters
from flows.described import span, told, words
from flows.library import remaster_library
from flows.request import Answer, Cleaning, Excerpt, Planning, Preview, Request, Rerun, Watching
from flows.run import Run
from tasks.profile import Profile, SequenceSettings, read_profile

ROOT = Path(__file__).resolve().parents[2]


def arguments(command: str) -> dict[str, argparse.Action]:
    (commands,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {action.dest: action for action in commands.choices[command]._actions}


COMMANDS = [
    ("run", Request), ("plan", Planning), ("preview", Excerpt), ("rerun", Rerun), ("clean", Cleaning),
    ("approve", Answer), ("reject", Answer), ("watch", Watching),
]  # fmt: skip
# What a command takes from where it is: whoever types it, the store that this user's run was in.
ITS_OWN = {("rerun", "store"), ("approve", "by"), ("reject", "by")}
# The answer is the command itself; what is to be made otherwise is said of what is rejected.
UNSAID = {"reject": {"decision"}, "approve": {"decision", "shots", "shards", "settings"}}


@pytest.mark.parametrize(("command", "model"), COMMANDS)
def test_the_command_says_what_the_form_says(command: str, model: type[BaseModel]) -> None:
    """Every field is an argument of the same name, with its words, its range and its default."""
    known = arguments(command)
    assert set(model.model_fields) - set(known) == UNSAID.get(command, set())
    for name in set(model.model_fields) & set(known):
        said = str(known[name].help).removesuffix(REPEATED)
        assert said.startswith(words(model, name)) if (command, name) in ITS_OWN else said == told(model, name), name


@pytest.mark.parametrize(("command", "model"), COMMANDS)
def test_the_defaults_of_the_command_are_those_of_the_form(
    command: str, model: type[BaseModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("REMASTER_STORE", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    for name, action in arguments(command).items():
        if name in model.model_fields and not model.model_fields[name].is_required():
            usual = model.model_fields[name].get_default(call_default_factory=True)
            assert (action.default or type(usual)()) == usual, name  # nothing said is an empty list or table


def test_a_preview_in_prefect_asks_what_the_command_asks_and_where_the_page_goes() -> None:
    assert set(Preview.model_fields) - set(Excerpt.model_fields) == {"store"}


def test_the_profile_s_own_options_say_what_its_settings_say() -> None:
    for command, names in (("run", ("model", "scale", "video_stream")), ("preview", ("scale",))):
        known = arguments(command)
        for name in names:
            said = str(known[name].help)
            assert said.startswith(words(Profile, name)) and span(Profile, name) in said, name
    assert str(arguments("run")["fps"].help).startswith(words(SequenceSettings, "fps").split(",")[0])


def test_what_is_out_of_range_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, out = str(tmp_path), str(tmp_path / "out")
    for *command, option, value in (
        ("run", here, out, "--workers", "-1"),
        ("run", here, out, "--settle", "-1"),
        ("watch", here, out, "--settle", "86401"),
        ("watch", here, out, "--every", "0"),
        ("plan", here, "--workers", "-1"),
        ("preview", here, "--seconds", "600"),
        ("preview", here, "--seconds", "0"),
        ("rerun", "--workers", "-1"),
        ("rerun", "--shard", "-1"),
        ("reject", "film.mkv", "--shard", "-1"),
    ):
        assert main([*command, option, value]) == 2, command
        assert f"{option[2:]}" in (said := capsys.readouterr().err) and "should" in said, said


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
