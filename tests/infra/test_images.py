"""The images' recipe: linted, its sources there, its install steps run where no container engine is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra import INFRA, ROOT

RECIPE = INFRA / "docker/Dockerfile"
TOOLS = Path(sys.executable).parent


def test_the_linter_has_nothing_to_say() -> None:
    subprocess.run([TOOLS / "hadolint", RECIPE], check=True, timeout=60)


def test_both_images_end_as_nobody_in_particular_on_a_base_that_cannot_change() -> None:
    text = RECIPE.read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    for target in ("cpu", "cuda"):
        (stage,) = [each for each in stages if each.split("\n", 1)[0].endswith(f" AS {target}")]
        assert re.findall(r"^USER (\S+)", stage, re.MULTILINE)[-1:] == ["10001"]
        assert stage.startswith("base ")
    assert re.search(r"^ARG PYTHON=python:[\w.-]+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert all(stage.split()[0] in {"${PYTHON}", "build", "base"} for stage in stages)
    assert text.count("HEALTHCHECK") == 1


def test_what_is_copied_is_there_and_not_kept_from_the_builder() -> None:
    let_in = {
        line[1:] for line in (INFRA / "docker/Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = list(re.findall(r"^COPY (?!--from)(.+)$", RECIPE.read_text(), re.MULTILINE))
    assert copied
    for words in copied:
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in let_in, source


def test_every_package_of_the_project_is_copied() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"^include = \[(.*)\]", project, re.MULTILINE)
    assert packages
    copied = set(re.findall(r"^COPY (\S+) \1$", RECIPE.read_text(), re.MULTILINE))
    assert {name.strip('" *') for name in packages[1].split(",")} == copied


def test_the_workflow_is_one_and_builds_both_targets() -> None:
    workflow = ROOT / ".github/workflows/images.yaml"
    check = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow]
    subprocess.run(check, check=True, timeout=60)
    assert re.findall(r"target: \[(.*)\]", workflow.read_text()) == ["cpu, cuda"]


def test_a_container_is_well_if_what_it_was_told_of_answers(prefect_api: str, ray_cluster: str) -> None:
    def ask(**told: str) -> int:
        env = {name: value for name, value in os.environ.items() if name not in {"PREFECT_API_URL", "RAY_ADDRESS"}}
        env |= {"PATH": f"{TOOLS}:{env['PATH']}"} | told
        return subprocess.run(
            [sys.executable, INFRA / "docker/healthy.py"], env=env, timeout=60, check=False
        ).returncode

    assert ask() == 0
    assert ask(PREFECT_API_URL=prefect_api, RAY_ADDRESS=ray_cluster) == 0
    assert ask(PREFECT_API_URL="http://127.0.0.1:9/api") == 1
    assert ask(PREFECT_API_URL=prefect_api, RAY_ADDRESS="127.0.0.1:9") == 1


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_install_steps_make_a_remaster_that_works(tmp_path: Path) -> None:
    """As in the image, but for torch's own index: torch is taken from where pip is set up to look."""
    folder = tmp_path / "src"
    folder.mkdir()
    recipe = RECIPE.read_text()
    stage = recipe[recipe.index("AS build-cpu") : recipe.index("AS build-cuda")]
    shared = recipe[recipe.index("AS build\n") : recipe.index("AS build-cpu")]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    env = {**os.environ, "PATH": f"{tmp_path}/venv/bin:{os.environ['PATH']}", "TORCH_INDEX": ""}
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        env.pop(name, None)
    for kind, words in re.findall(r"^(COPY|RUN) (.+)$", shared + stage, re.MULTILINE):
        if kind == "COPY":
            *sources, _ = words.split()
            for source in sources:
                subprocess.run(["cp", "-r", ROOT / source, folder], check=True, timeout=60)
        elif "install.sh" in words:
            step = words[words.index("./install.sh") :]
            subprocess.run(["sh", "-c", step], cwd=folder, env=env, check=True, timeout=1200)
    bin_, out = tmp_path / "venv/bin", tmp_path / "out"
    versions = subprocess.run([bin_ / "pip", "freeze"], check=True, capture_output=True, text=True, timeout=60).stdout
    pinned = {line.strip().lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    for line in versions.splitlines():
        if "==" in line and not line.startswith(("setuptools", "pip")):
            assert re.sub(r"\+\w+$", "", line).lower() in pinned, line
    run = [bin_ / "remaster", "run", ROOT / "datasets/demo/flower.mp4", out, "--model", "lanczos", "--scale", "2"]
    run += ["--set", "shards.frames=1000", "--set", "master.preset=ultrafast"]
    clean = {name: value for name, value in env.items() if not name.startswith(("PREFECT", "RAY"))}
    home = {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    subprocess.run(run, cwd=tmp_path, env=clean | home, check=True, timeout=280)
    assert list(out.glob("flower.*"))
