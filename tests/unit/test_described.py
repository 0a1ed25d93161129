"""What a model says of its fields, in words: every kind of range and default that ours have."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from flows.described import default, span, told, values, words


class Asked(BaseModel):
    """One of each."""

    count: int = Field(0, ge=0, description="How many.")
    share: float = Field(0.5, gt=0, le=1, description="Of all.")
    side: int = Field(128, ge=0, le=4096, multiple_of=128, description="In pixels.")
    kind: Literal["one", "two"] = Field("one", description="Which.")
    which: Annotated[int, Field(ge=0)] | Literal["auto"] = Field("auto", description="Which of them.")
    word: str | None = Field(None, description="Said.")
    yes: bool = Field(False, description="Do it.")
    more: dict[str, str] = Field(default_factory=dict, description="Whatever else.")
    names: list[str] = Field(default_factory=lambda: ["a", "b"], description="Whose.")


@pytest.mark.parametrize(
    ("name", "said", "between", "usual"),
    [
        ("count", "whole number, at least 0", "at least 0", "0"),
        ("share", "number, above 0, at most 1", "above 0, at most 1", "0.5"),
        ("side", "whole number, 0 to 4096, a multiple of 128", "0 to 4096, a multiple of 128", "128"),
        ("kind", "one, two", "", '"one"'),
        ("which", "whole number, at least 0, or auto", "", '"auto"'),
        ("word", "text", "", ""),
        ("yes", "true or false", "", "false"),
        ("more", "table of text", "", ""),
        ("names", "list of text", "", '["a", "b"]'),
    ],
)
def test_a_field_is_described_by_its_model(name: str, said: str, between: str, usual: str) -> None:
    assert values(Asked, name) == said
    assert span(Asked, name) == between
    assert default(Asked, name) == usual


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("count", "how many (at least 0; default: 0)"), ("share", "of all (above 0, at most 1; default: 0.5)"),
        ("kind", "which (default: one)"), ("word", "said"), ("yes", "do it"), ("names", "whose (default: a,b)"),
    ],
)  # fmt: skip
def test_the_help_of_a_command_has_meaning_range_and_default(name: str, said: str) -> None:
    assert told(Asked, name) == said


def test_a_command_may_have_a_default_of_its_own() -> None:
    assert told(Asked, "count", 60) == "how many (at least 0; default: 60)"


def test_words_go_on_in_a_sentence() -> None:
    assert words(Asked, "which") == "which of them"
