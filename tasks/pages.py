"""Pages for people, from the templates beside this module: one file each, with everything inside it.

`wipe.html` is the slider between two pictures that any page may import.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jinja2

from tasks.figures import clock, moment, size, span


def render(template: str, **values: Any) -> str:
    """The page that a template of this name makes of the values."""
    return _environment().get_template(template).render(**values)


def data_uri(jpeg: bytes) -> str:
    """A JPEG as a page holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    def read(name: str) -> str:
        return files("tasks").joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {each.__name__: each for each in (clock, moment, size, span)}
    return environment
