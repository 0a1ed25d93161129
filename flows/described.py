"""What a model of what may be asked says of its fields, in words: their meaning, their values, their default.

For the help of commands and for the references in `docs/`; Prefect's form reads the same schema. Imports little.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

_KINDS = {
    "integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "object": "table of",
    "array": "list of", "null": "",
}  # fmt: skip


def words(model: type[BaseModel], name: str) -> str:
    """What a field means, as the help of a command has it."""
    text = model.model_fields[name].description or ""
    return (text[0].lower() + text[1:]).removesuffix(".")


def told(model: type[BaseModel], name: str, instead: Any = None) -> str:
    """Meaning, range and default of a field, as the help of a command has it.

    Args:
        model, name: of the field.
        instead: what a command takes for its default.
    """
    text, field = words(model, name), model.model_fields[name]
    notes = [span(model, name)]
    usual = instead if instead is not None or field.is_required() else field.get_default(call_default_factory=True)
    if (usual or type(usual) in (int, float)) and "default:" not in text:
        notes.append(f"default: {_plain(usual)}")
    return f"{text} ({'; '.join(filter(None, notes))})" if any(notes) else text


def values(model: type[BaseModel], name: str) -> str:
    """What a field may be: its kind, or its choices, and its range."""
    return _values(_schema(model)[name])


def span(model: type[BaseModel], name: str) -> str:
    """The range of a field that is a number; else empty."""
    return _span(_schema(model)[name])


def default(model: type[BaseModel], name: str) -> str:
    """What a field is if nothing is said, as TOML writes it; empty if it is not set then."""
    value = model.model_fields[name].get_default(call_default_factory=True)
    return "" if value is None or value == {} else json.dumps(value)


def sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields that are models themselves."""
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if type(value) is float else str(value)


@cache
def _schema(model: type[BaseModel]) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = model.model_json_schema()["properties"]
    return properties


def _values(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(filter(None, map(_values, schema["anyOf"])))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = _KINDS[schema["type"]]
    inner = schema.get("additionalProperties", schema.get("items"))
    of = f" {_values(inner)}" if isinstance(inner, Mapping) else ""
    return ", ".join(filter(None, (f"{kind}{of}", _span(schema))))


def _span(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return ", ".join((f"{low:.15g} to {high:.15g}", *_steps(schema)))
    ends = (("at least", low), ("above", schema.get("exclusiveMinimum")), ("at most", high))
    return ", ".join((*(f"{said} {number:.15g}" for said, number in ends if number is not None), *_steps(schema)))


def _steps(schema: Mapping[str, Any]) -> Iterator[str]:
    if "multipleOf" in schema:
        yield f"a multiple of {schema['multipleOf']}"
