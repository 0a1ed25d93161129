"""Profiles: named, validated sets of settings, read from TOML. Knows the settings, not how they are carried out."""

from __future__ import annotations

import difflib
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tasks.errors import UsageError
from tasks.media.picture.size import Scale, exact_scale
from tasks.media.reading.limits import Limits
from tasks.media.reading.movie import exact_rate
from tasks.media.writing.codecs import STILLS, Beside, Codec, EncodeSettings, containers_for
from tasks.media.writing.ranges import why_whole
from vsr_model.tone import CurveName

_BUILT_IN = Path(__file__).parent / "profiles"


class _Section(BaseModel):
    # Strict, or `scale = true` would be a scale of 1.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _word(value: object) -> object:
    return str(value) if type(value) in {int, float} else value


# A number where a word is wanted: `--set master.chroma=444` needs no quotes.
_WORD = BeforeValidator(_word)


def _several(value: object) -> object:
    """Words with commas between them, as a command line has them, or in a list, as TOML has it, one by one."""
    words = [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value
    return tuple(dict.fromkeys(words)) if isinstance(words, list) else words


_LARGEST_SCALE = 4
_SCALES = {"anyOf": [{"type": "number", "minimum": 1, "maximum": _LARGEST_SCALE}, {"type": "string"}]}


def _scale(value: object) -> Scale:
    try:
        scale = exact_scale(value)
        if 1 <= Fraction(scale) <= _LARGEST_SCALE:
            return scale
    except ValueError:
        pass
    raise PydanticCustomError("scale", f"ask for a number from 1 to {_LARGEST_SCALE}, such as 2, 1.5 or 4/3")


class ShardSettings(_Section):
    """How titles are cut into shards."""

    frames: int = Field(
        0, ge=0, le=100_000,
        description="Longest shard, in frames; 0: 240, or more where a network is given many frames besides.",
    )  # fmt: skip
    shortest: int = Field(16, ge=1, description="Shots shorter than this are joined with their neighbour.")
    cut_score: float = Field(10.0, gt=0, le=100, description="Scene-change score (0..100) above which a shot ends.")


class MasterSettings(_Section):
    """What the masters are."""

    codec: Codec = Field("h265", description="Picture codec.")
    container: Literal["auto", "mp4", "mov", "mkv"] = Field(
        "auto", description="auto: the source's own kind, or the first that holds everything the source carries."
    )
    quality: int | None = Field(None, ge=0, le=63, description="Rate factor, lower is better; unset: transparent.")
    preset: Annotated[str | None, _WORD] = Field(None, description="The encoder's own speed preset.")
    bit_depth: Literal[0, 8, 10, 12, 14, 16] = Field(0, description="0: ten bits, or the source's if that is more.")
    chroma: Annotated[Literal["source", "420", "422", "444"], _WORD] = Field(
        "source", description="Chroma subsampling."
    )
    pixel_aspect: Literal["keep", "square"] = Field(
        "keep",
        description="Pixels are as wide to their height as the source's (keep), or as wide as high (square): one side"
        " of the picture is then enlarged, so that it is shown as it was.",
    )
    options: dict[str, Annotated[str, _WORD]] = Field(
        default_factory=dict, description="Further options for the encoder, as they are."
    )
    without: Annotated[tuple[Beside, ...], BeforeValidator(_several)] = Field(
        (),
        description="Kinds of tracks that masters are to be without: audio, subtitle, data, attachment; several with"
        " commas. What is left out by choice is no loss.",
    )
    ranges: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1,
        description="Ranges of frames, each with an encoder of its own, several at once; auto: one for every 14,400"
        " frames (ten minutes).",
    )

    @model_validator(mode="after")
    def _container_takes_codec(self) -> Self:
        possible = containers_for(self.codec)
        if self.codec in STILLS and self.container != "auto":
            raise ValueError(f"{self.codec} gives numbered files, which have no container; leave it at auto")
        if self.container not in ("auto", *possible):
            known = " or ".join(possible)
            raise ValueError(f"{self.container} does not hold {self.codec}; choose {known}, or another codec")
        return self

    @model_validator(mode="after")
    def _ranges_are_possible(self) -> Self:
        if self.ranges not in ("auto", 1) and (why := why_whole(self.encoding())):
            raise ValueError(f"ranges = {self.ranges} cannot be, as {why}; leave it at auto")
        return self

    def encoding(self) -> EncodeSettings:
        """The same, as the encoder takes it."""
        return EncodeSettings(
            codec=self.codec,
            quality=self.quality,
            preset=self.preset,
            bit_depth=self.bit_depth,
            chroma=self.chroma,
            options=tuple(sorted(self.options.items())),
            without=self.without,
        )


class CheckSettings(_Section):
    """When a finished shard is not good enough."""

    fidelity: float = Field(
        18.0, ge=0, description="Lowest PSNR, in dB, of the master reduced to the source's size against the source."
    )
    picture: Literal["fail", "hold", "report", "off"] = Field(
        "fail",
        description="What to do when frames are black, frozen, out of order, of another hue, or step at a border: end"
        " the title with exceptions, hold its master back for a person, only say so, or do not look.",
    )
    vmaf: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Lowest VMAF-NEG of a shard of the master, reduced to the source's size, against the source; 0: it"
        " is not measured, which saves decoding both once more.",
    )
    below: Literal["fail", "hold", "report"] = Field(
        "fail",
        description="What to do when a shard is below check.fidelity or check.vmaf: end the title with exceptions, hold"
        " its master back for a person, or only say so.",
    )


class LimitSettings(_Section):
    """What a source may be at most; more is refused when the library is scanned."""

    pixels: int = Field(Limits.pixels, ge=1, description="Rows times columns of a frame.")
    frames: int = Field(Limits.frames, ge=1, description="Frames of a title.")
    seconds: float = Field(Limits.seconds, gt=0, description="Length of a title.")
    streams: int = Field(Limits.streams, ge=1, description="Streams of any kind in a file.")
    bytes: int = Field(Limits.bytes, ge=1, description="Size of a file.")
    damaged: int = Field(
        Limits.damaged, ge=0,
        description="Frames of a title that may be missing, or made up in part by the decoder, as the file is damaged.",
    )  # fmt: skip

    def limits(self) -> Limits:
        """The same, as the reader of a source takes it."""
        return Limits(**self.model_dump())


class CostSettings(_Section):
    """What a run costs and may cost, in whatever currency the rates are in; a GB is 10^9 bytes."""

    gpu_hour: float = Field(0.0, ge=0, description="Price of a worker for an hour.")
    store_gb_month: float = Field(0.0, ge=0, description="Price of a GB in the store for a month.")
    master_gb_month: float = Field(0.0, ge=0, description="Price of a GB of masters for a month.")
    months: float = Field(1.0, ge=0, description="How long store and masters are paid for.")
    budget: float = Field(0.0, ge=0, description="What one run may cost; 0: anything.")
    over_budget: Literal["refuse", "stop"] = Field(
        "refuse",
        description="A run that would cost more is not begun (refuse), or goes on until the budget is spent (stop).",
    )


class FlashVsrSettings(_Section):
    """What the modes of FlashVSR take; the defaults are the published ones, but for the colour fix."""

    sparse_ratio: float = Field(
        2.0, ge=0.1, le=8, description="Attention kept, in units of 60 windows: more is steadier, less is faster."
    )
    kv_ratio: float = Field(3.0, ge=1, le=8, description="Groups of 8 frames that later ones look back at.")
    local_range: int = Field(
        11, ge=1, le=63, description="Windows of 128 pixels seen along either axis: fewer is sharper, more is steadier."
    )
    color_fix: Literal["wavelet", "adain", "none"] = Field(
        "wavelet", description="Low frequencies from the source, or its mean and deviation (may pump), or nothing."
    )
    unload_dit: bool = Field(
        False, description="Keep the transformer off the device while frames are decoded: slower, less memory."
    )
    vae_tile: int = Field(
        0, ge=0, le=4096, multiple_of=128,
        description="Tiles of the -full modes' decoder, in pixels a side: less memory, more time; 0: whole pictures.",
    )  # fmt: skip


class HdrSettings(_Section):
    """What becomes of HDR sources (PQ and HLG)."""

    mode: Literal["keep", "tonemap"] = Field(
        "keep", description="Their masters stay HDR, not graded anew (keep), or become SDR in BT.709 (tonemap)."
    )
    curve: CurveName = Field(
        "reinhard",
        description="Of tonemap: shadows as they are (reinhard), an even bend (log), or the contrast of film (aces).",
    )
    exposure: float = Field(0.0, ge=-10, le=10, description="Of tonemap: stops by which light is raised first.")


class SequenceSettings(_Section):
    """What is not said by numbered image files, or raw streams without a header, themselves."""

    fps: Annotated[str | None, _WORD] = Field(
        None,
        description="Pictures a second, e.g. 24 or 24000/1001. Unset: as the headers of DPX and EXR say, and PNG, TIFF"
        " and JPEG files are no titles.",
    )

    @field_validator("fps")
    @classmethod
    def _is_a_rate(cls, value: str | None) -> str | None:
        if value is not None:
            exact_rate(value)
        return value

    def rate(self) -> Fraction | None:
        """The same as a number."""
        return None if self.fps is None else exact_rate(self.fps)


class RetrySettings(_Section):
    """What happens when a shard fails."""

    attempts: int = Field(4, ge=1, le=100, description="Attempts in all, for errors that another attempt may cure.")
    delay: float = Field(2.0, ge=0, description="Seconds before the second attempt; doubles each time, with jitter.")
    quarantine: Literal["hold", "fail", "fill"] = Field(
        "hold",
        description="A shard that took down three workers: hold its title back with all others made, fail it at once,"
        " or fill the gap by a classical resize.",
    )
    stall: float = Field(
        1800.0, ge=1, description="Seconds without a finished frame after which a worker counts as hung and is killed."
    )
    lease: float = Field(
        60.0, ge=3, le=86_400,
        description="Seconds without a sign of life after which another run on the same store takes a shard over.",
    )  # fmt: skip


class Profile(_Section):
    """Everything that decides what a master looks like, and how hard to try."""

    model: str = Field("lanczos", description="A network by name, or the path of a weights file.")
    scale: Annotated[Scale, PlainValidator(_scale), WithJsonSchema(_SCALES)] = Field(
        4, description="Factor on width and height, such as 2, 1.5 or 4/3."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Base of every random draw.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="The network's arithmetic."
    )
    video_stream: Annotated[int, Field(ge=0)] | Literal["auto", "largest", "default"] = Field(
        "auto", description="Which of several video streams: the longest (auto), the largest, the default, or a number."
    )
    cadence: Literal["auto", "progressive", "deinterlace", "fields", "detelecine", "deduplicate"] = Field(
        "auto",
        description="What to do about fields: what each part of a title needs (auto), nothing, or deinterlace all;"
        " or auto with a picture for each field, for film only, or without frames that repeat.",
    )
    bars: Literal["restore", "remove", "keep"] = Field(
        "restore",
        description="Black bars are cut off, and put back exactly black (restore) or not; or are picture too.",
    )
    tile: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        0, description="Cut frames in tiles of this many source pixels a side; 0: whole frames; auto: what fits memory."
    )
    tile_overlap: int = Field(
        16,
        ge=0,
        le=128,
        description="Source pixels at a tile's inner edges that are thrown away; at most a fifth of it.",
    )
    shards: ShardSettings = Field(default_factory=ShardSettings)
    sequence: SequenceSettings = Field(default_factory=SequenceSettings)
    hdr: HdrSettings = Field(default_factory=HdrSettings)
    master: MasterSettings = Field(default_factory=MasterSettings)
    check: CheckSettings = Field(default_factory=CheckSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    cost: CostSettings = Field(default_factory=CostSettings)
    flashvsr: FlashVsrSettings = Field(default_factory=FlashVsrSettings)

    @model_validator(mode="after")
    def _what_is_held_is_one_file(self) -> Self:
        holding = next((name for name in ("picture", "below") if getattr(self.check, name) == "hold"), "")
        if holding and self.master.codec in STILLS:
            raise ValueError(
                f"check.{holding} = hold: masters of {self.master.codec} are many files; use report or fail"
            )
        return self

    def model_settings(self, section: str) -> tuple[tuple[str, str | int | float | bool], ...]:
        """What this profile sets of a network, sorted by name; `section` is the network's `info.settings`."""
        return tuple(sorted(getattr(self, section).model_dump().items())) if section else ()


def built_in_profiles() -> list[str]:
    """The names of the profiles that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _BUILT_IN.iterdir() if file.name.endswith(".toml"))


def read_profile(path: str | None, overrides: dict[str, Any]) -> Profile:
    """A profile from a TOML file (or the defaults) with single settings replaced.

    Args:
        path: of the TOML file, or the name of a built-in one, or None.
        overrides: dotted names to values, e.g. `{"master.codec": "ffv1"}`; None values are left out.

    Raises:
        UsageError: no such file, not TOML, an unknown setting (the nearest known one is named), or a bad value.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            place = _BUILT_IN / f"{path}.toml" if path in built_in_profiles() else Path(path)
            settings = tomllib.loads(place.read_text(encoding="utf-8"))
        except OSError as error:
            known = f"Built-in ones: {', '.join(built_in_profiles())}"
            raise UsageError(f"profile {path}: cannot be read ({error.strerror}). {known}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"profile {path}: is not valid TOML ({error}).") from error
    return _validated(settings, overrides, f"profile {path}" if path else "settings")


def with_settings(profile: Profile, overrides: dict[str, Any]) -> Profile:
    """A profile with single settings replaced; see `read_profile`."""
    return _validated(profile.model_dump(), overrides, "settings")


def is_of_shards(name: str) -> bool:
    """True if one shard of a title may have another value of a setting than its neighbours."""
    return name in {"model", "seed", "precision", "tile", "tile_overlap"} or name.startswith("flashvsr.")


def _validated(settings: dict[str, Any], overrides: dict[str, Any], origin: str) -> Profile:
    for name, value in overrides.items():
        if value is None:
            continue
        *sections, key = name.split(".")
        table = settings
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise UsageError(f"unknown setting {name}; {section} is a setting of its own, with nothing in it.")
        table[key] = value
    try:
        return Profile.model_validate(settings)
    except ValidationError as error:
        raise UsageError("\n".join(f"{origin}: {_explain(problem)}" for problem in error.errors())) from error


def setting_names(model: type[BaseModel] = Profile, prefix: str = "") -> list[str]:
    """Every setting by its dotted name."""
    names = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "model_type":
        inside = next(name for name in setting_names() if name.startswith(f"{where}."))
        return f"{where} = {problem['input']!r}: is a section of settings, not one of them; set {inside}, for instance."
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}."
    if problem["type"] != "extra_forbidden":
        return f"{where} = {problem['input']!r}: {problem['msg']}."
    known = setting_names()
    sections = sorted({name.split(".")[0] for name in known})
    near = difflib.get_close_matches(where, known + sections, 1, 0.5) or [
        name for name in known if name.rsplit(".", 1)[-1] == where.rsplit(".", 1)[-1]
    ]
    hint = f"did you mean {near[0]}?" if near else f"known settings: {', '.join(known)}."
    return f"unknown setting {where}; {hint}"
