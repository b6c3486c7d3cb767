"""What a script says: the README's format, checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from tools.simulator.faults import TABLE, Fault, Point

OVERSIZED_BYTES = 8 * 1024 * 1024
Finish = Literal["stop", "length", "tool_calls", "content_filter"]


class ScriptError(ValueError):
    """A script that cannot be read; says why."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Usage(_Part):
    """Tokens in disjoint buckets."""

    input: NonNegativeInt = 0
    cached_input: NonNegativeInt = 0
    cache_write_input: NonNegativeInt = 0
    output: NonNegativeInt = 0
    reasoning: NonNegativeInt = 0

    @property
    def prompt(self) -> int:
        """All that went in."""
        return self.input + self.cached_input + self.cache_write_input

    @property
    def completion(self) -> int:
        """All that came out."""
        return self.output + self.reasoning


class ToolCall(_Part):
    """A tool the model asks for."""

    name: str
    arguments: dict[str, JsonValue] = {}


class Answer(_Part):
    """What a model says; the README describes the fields."""

    text: str = "Paris is the capital of France."
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage(input=14, output=7)
    finish: Finish = "stop"
    stop_sequence: str | None = None
    events: PositiveInt = 4
    dimensions: Annotated[int, Field(ge=1, le=4096)] = 8

    @model_validator(mode="before")
    @classmethod
    def _tools_are_all_that_is_said(cls, data: object) -> object:
        """A call of tools comes without text and finishes so, if the script does not say other."""
        if isinstance(data, Mapping) and data.get("tool_calls"):
            return {"text": "", "finish": "tool_calls", **data}
        return data


class Latency(_Part):
    """Pauses: before the headers, before the first byte of the body, between events."""

    headers_ms: NonNegativeFloat = 0
    first_byte_ms: NonNegativeFloat = 0
    token_ms: NonNegativeFloat = 0


class FaultSpec(_Part):
    """A fault of a request, with what it needs; the README describes the fields."""

    name: Fault
    after_events: NonNegativeInt | None = None
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after_s: PositiveInt | None = None
    message: str | None = None
    size: PositiveInt = OVERSIZED_BYTES

    @model_validator(mode="after")
    def _of_a_request(self) -> "FaultSpec":
        if TABLE[self.name].point is Point.CONNECT:
            raise ValueError(f"{self.name} is a fault of `connections`, not of a rule")
        return self


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, int) else value


class Choice(_Part):
    """Which of those that come one after another; all if nothing is said."""

    first: PositiveInt | None = None
    nth: Annotated[tuple[PositiveInt, ...] | None, BeforeValidator(_as_tuple)] = None
    every: PositiveInt | None = None
    probability: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> "Choice":
        if len(self.chosen) > 1:
            raise ValueError("only one of first, nth, every, probability")
        return self

    @property
    def chosen(self) -> frozenset[str]:
        """Which of the four were given."""
        return frozenset({"first", "nth", "every", "probability"} & self.model_fields_set)


class When(Choice):
    """Conditions of a rule; the README describes the fields."""

    wire: Literal["openai", "anthropic", "gemini", "bedrock"] | None = None
    path: str | None = None
    model: str | None = None
    prompt: str | None = None
    header: dict[str, str] = {}
    stream: bool | None = None


class Rule(_Part):
    """What becomes of the requests for which `when` holds."""

    when: When = When()
    latency: Latency | None = None
    fault: FaultSpec | None = None
    answer: Answer | None = None
    headers: dict[str, str] = {}


class Connections(Choice):
    """A fault of new connections."""

    fault: Fault

    @model_validator(mode="after")
    def _of_a_connection(self) -> "Connections":
        if TABLE[self.fault].point is not Point.CONNECT:
            raise ValueError(f"{self.fault} is a fault of a rule, not of connections")
        if self.fault is Fault.CONNECT_REFUSED and self.chosen:
            raise ValueError("nobody can refuse some connections only")
        return self


class Script(_Part):
    """A whole script; the README describes the fields."""

    seed: int = 0
    models: tuple[str, ...] = ("simulated",)
    latency: Latency = Latency()
    answer: Answer = Answer()
    connections: Connections | None = None
    rules: tuple[Rule, ...] = ()


def parse_script(text: str | bytes) -> Script:
    """Reads YAML or JSON.

    Raises:
        ScriptError: it is neither, or not a script.
    """
    try:
        return as_script(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ScriptError(f"neither YAML nor JSON: {error}") from error


def read_script(path: Path) -> Script:
    """Reads a file.

    Raises:
        ScriptError: see `parse_script`; or the file cannot be read.
    """
    try:
        return parse_script(path.read_bytes())
    except OSError as error:
        raise ScriptError(str(error)) from error


def as_script(value: object) -> Script:
    """A script out of a mapping, of a script, or of nothing.

    Raises:
        ScriptError: the mapping is none.
    """
    if isinstance(value, Script):
        return value
    try:
        return Script.model_validate({} if value is None else value)
    except ValidationError as error:
        raise ScriptError(str(error)) from error
