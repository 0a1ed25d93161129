"""The arrows of docs/architecture.md: who may import whom. Read from the source, so that nothing has to be run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NO_STORE_NO_FLOW = {
    "flows",
    "prefect",
    "ray",
    "fsspec",
    "s3fs",
    "tasks.store",
    "tasks.pool",
    "tasks.plan",
    "tasks.scan",
}
# Each may import those before it.
MEDIA = [f"tasks.media.{name}" for name in ("picture", "reading", "cadence", "writing", "contract")]
# Package -> what it must not import. The longest prefix that matches a module counts.
FORBIDDEN = {
    "flows": {"av", "torch"},
    "tasks": {"flows", "prefect"},
    "tasks.media": NO_STORE_NO_FLOW,
    **{package: NO_STORE_NO_FLOW | {*MEDIA[n + 1 :]} for n, package in enumerate(MEDIA)},
    "tasks.quality": NO_STORE_NO_FLOW,
    "tasks.store": {"flows", "prefect", "ray", "av", "torch", "tasks.media", "tasks.pool", "vsr_model"},
    "tasks.pool": {"flows", "prefect"},
    "vsr_model": {"flows", "tasks", "prefect", "ray", "fsspec", "s3fs", "av", "pyarrow", "datasets"},
}
# Imports inside functions that an arrow allows for a reason.
ALLOWED = {
    ("vsr_model.bucket", "fsspec"),  # weights may lie in a bucket, and a network is loaded where no task is at hand
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("flows", "tasks", "vsr_model"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_follow_the_arrows(name: str, path: Path) -> None:
    rule = max((package for package in FORBIDDEN if f"{name}.".startswith(f"{package}.")), key=len)
    for imported in imports(path):
        for banned in FORBIDDEN[rule]:
            crosses = f"{imported}.".startswith(f"{banned}.")
            assert not crosses or (name, banned) in ALLOWED, f"{name} imports {imported}, which {rule} must not"


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_says_what_it_is_and_fits_in_one_sitting(name: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"
    assert text.count("\n") <= 420, f"{name} has grown past one sitting: split it"
