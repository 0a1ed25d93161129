"""What may be asked of a run, a preview, running again and so on: one model each, for command and Prefect's form.

Words, ranges and defaults are here only: a command's options (`flows.arguments.add_field`) and the parameters of a
deployment are made from them. Imports little, as the command's help does.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

STORE = "OUTPUT/.remaster"
_LIBRARY = "File, folder (recursive) or s3://bucket/prefix."


class Request(BaseModel):
    """What a person asks of a run, but for its profile: see `flows.run.Run`."""

    model_config = ConfigDict(frozen=True)

    library: str = Field(description=_LIBRARY)
    output: str = Field(description="Folder or s3://bucket/prefix for the masters.")
    store: str = Field(
        default_factory=lambda: os.environ.get("REMASTER_STORE", ""),
        validate_default=True,
        description=f"Where segments and records are kept (default: what REMASTER_STORE names, or {STORE}).",
    )
    workers: int = Field(0, ge=0, description="Actors; 0: one a GPU, or one.")
    ray_address: str = Field(
        default_factory=lambda: os.environ.get("RAY_ADDRESS", ""),
        description="Of a Ray cluster to join (default: what RAY_ADDRESS names, or none).",
    )
    only: str = Field("", description="Only titles whose names match, e.g. 'season1/*.mkv'.")
    force: bool = Field(False, description="Redo shards that are done already.")
    new_only: bool = Field(
        False,
        description="Pass over titles whose master was made as it is asked for now, if neither file changed since.",
    )
    settle: float = Field(
        0.0, ge=0, le=86_400, description="Leave files that changed less than so many seconds ago for a later run."
    )

    @field_validator("library", "output")
    @classmethod
    def _normalised(cls, value: str) -> str:
        from flows.arguments import place

        return place(value)

    @field_validator("store")
    @classmethod
    def _beside_the_masters(cls, value: str, info: ValidationInfo) -> str:
        from flows.arguments import place

        return place(value or f"{info.data.get('output', '')}/.remaster")


class Planning(BaseModel):
    """What a person asks of a plan, but for the profile. A command only: it is read before a run is asked for."""

    model_config = ConfigDict(frozen=True)

    library: str = Field(description=_LIBRARY)
    output: str = Field("", description="As for run; what is there already costs nothing.")
    store: str = Field(
        default_factory=lambda: os.environ.get("REMASTER_STORE", ""),
        description=f"As for run (default: what REMASTER_STORE names, {STORE}, or a folder for as long as it takes).",
    )
    workers: int = Field(0, ge=0, description="That would work; 0: as for run.")


class Excerpt(BaseModel):
    """A part of a title, and the networks that are to make it."""

    model_config = ConfigDict(frozen=True)

    title: str = Field(description="A file or s3:// object.")
    at: str = Field("", description="Where to look, as 90, 1:30 or 0:01:30.5 (default: the middle).")
    seconds: float = Field(3.0, gt=0, le=60, description="How much of it, in seconds.")
    models: list[str] = Field(default_factory=lambda: ["lanczos", "swift"], description="Networks or weights files.")
    part: str = Field("256x144", description="Of the source's picture, columns and rows; or whole.")


class Preview(Excerpt):
    """What a person asks of a preview in Prefect, but for the profile."""

    store: str = Field(description="Where the page is kept: folder or s3://bucket/prefix.")


class Rerun(BaseModel):
    """What a person asks of doing a run again: only what is missing or failed is worked on, or what is rejected."""

    model_config = ConfigDict(frozen=True)

    store: str = Field(description="The run's store.")
    run: str = Field("", description="Id of the run (default: the latest).")
    workers: int = Field(0, ge=0, description="Actors; 0: as that run was asked for.")
    ray_address: str = Field(
        default_factory=lambda: os.environ.get("RAY_ADDRESS", ""),
        description="Of a Ray cluster to join (default: what RAY_ADDRESS names, or as that run did).",
    )
    title: str = Field("", description="Only titles of the run whose names match.")
    shards: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list,
        description="Reject these shards of the title (0, 1, ...): they are made anew, their neighbours stay.",
    )
    reason: str = Field("", description="Why, for the report and the receipt.")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings that are to be otherwise: for the rejected shards, or for the whole run if none is.",
    )


class Review(BaseModel):
    """Which master a person is asked to judge."""

    model_config = ConfigDict(frozen=True)

    store: str = Field(description="The run's store.")
    output: str = Field(description="Where the run's masters go.")
    title: str = Field(description="Name of the title that waits.")


class Answer(BaseModel):
    """What a person says of a master that waits for them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Literal["approve", "reject"] = Field(
        description="Approve: it is published as it is. Reject: shards of it are made anew by the next run."
    )
    by: str = Field(min_length=1, description="Who decides, for the receipt.")
    note: str = Field("", description="Why, for the receipt: what is accepted, or what is wrong.")
    shots: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list,
        description="Reject the shards of these shots (0, 1, ...); if neither shots nor shards are named, those with"
        " faults.",
    )
    shards: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list, description="Reject these shards (0, 1, ...)."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings that are to be otherwise for what is rejected, e.g. model."
    )


class Watching(BaseModel):
    """What a person asks of watching a library, beside what a run of it is."""

    model_config = ConfigDict(frozen=True)

    every: float = Field(30.0, gt=0, le=86_400, description="How often to look, in seconds.")


class Cleaning(BaseModel):
    """What a person asks of cleaning up a store."""

    model_config = ConfigDict(frozen=True)

    store: str = Field(description="Folder or s3://bucket/prefix.")
    yes: bool = Field(False, description="Remove it; else it is only shown.")
    cut_off: list[str] = Field(default_factory=list, description="Runs that have no verdict and are surely over.")


def in_a_sentence(error: ValidationError) -> str:
    """What is wrong with what was asked."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))} = {problem['input']!r}: {problem['msg']}" for problem in error.errors()
    )
