"""Every fault on every surface: which cases there are, and what must become of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from benchmarks.soak.client import NAMES
from tools.simulator.faults import TABLE, Fault, Point

WIRES = ("openai", "anthropic", "gemini", "bedrock")
LIMIT_BYTES = 1_000_000
"""Of an answer, in this mesh."""


@dataclass(frozen=True)
class Strike:
    """A fault as it strikes.

    Attributes:
        fault: which.
        spec: what else the script says of it.
        name: of the strike, good for a part of a resource's name.
    """

    fault: Fault
    spec: dict[str, object] = field(default_factory=dict, hash=False)
    variant: str = ""

    @property
    def name(self) -> str:
        return self.fault.replace("_", "-") + self.variant

    @property
    def of_connection(self) -> bool:
        return TABLE[self.fault].point is Point.CONNECT


def _strikes() -> list[Strike]:
    specs: dict[Fault, dict[str, object]] = {
        Fault.HEADERS_OVERSIZED: {"size": 200_000},
        Fault.RATE_LIMITED: {"retry_after_s": 1},
        Fault.MID_STREAM_OVERSIZED: {"size": LIMIT_BYTES // 10},
    }
    return [
        *(Strike(fault, specs.get(fault, {})) for fault in Fault),
        Strike(Fault.STATUS_ERROR, {"status": 400, "message": "No such tool."}, "-400"),
        Strike(Fault.MID_STREAM_OVERSIZED, {"size": 2 * LIMIT_BYTES}, "-limit"),
    ]


STRIKES = _strikes()


class Fate(Enum):
    """What may become of a request."""

    ANSWERED = "the answer of the model that was asked for"
    REPLACED = "the answer of the model that stands in"
    REFUSED = "an error that is the request's own"
    FAILED = "an error that is the provider's"


@dataclass(frozen=True)
class Case:
    """One request under one strike."""

    wire: str
    surface: str
    stream: bool
    strike: Strike

    @property
    def model(self) -> str:
        """The Model resource and the model of the provider: each case has its own, by which the
        simulator counts."""
        form = "stream" if self.stream else "whole"
        return f"{self.wire}.{self.surface}.{form}.{self.strike.name}"

    @property
    def provider(self) -> str:
        """The Provider resource: a fault of connections needs a simulator of its own."""
        return f"{self.wire}.{self.strike.name}" if self.strike.of_connection else self.wire

    def fates(self, *, backed: bool) -> set[Fate]:
        """What may become of it.

        Args:
            backed: another model may stand in.
        """
        if self.strike.variant == "-400":
            return {Fate.REFUSED}
        if self.whole_enough:
            return {Fate.ANSWERED}
        fates = {Fate.REPLACED} if backed else {Fate.FAILED}
        if backed and self.after_words:
            # Whether the first word of a stream is out by then is a matter of moments.
            fates.add(Fate.FAILED)
        if self.stream and self.strike.fault is Fault.TRAILER_EXTRA_DATA:
            # So is whether the end has been read by then.
            fates.add(Fate.ANSWERED)
        return fates

    @property
    def after_words(self) -> bool:
        """Whether a part of the answer has been sent before the fault shows."""
        return self.stream and TABLE[self.strike.fault].point in (Point.MID_STREAM, Point.TRAILER)

    @property
    def whole_enough(self) -> bool:
        """Whether all that an answer needs has come, whatever else is wrong."""
        fault = self.strike.fault
        if self.strike.variant == "-limit" or fault in _NOT_TRUSTED[self.stream]:
            return False
        return TABLE[fault].answered or fault in _WHOLE_ENOUGH.get((self.wire, self.stream), ())

    @property
    def usage_told(self) -> bool:
        """Whether the provider says what an answer took."""
        return self.strike.fault is not Fault.TRAILER_NO_USAGE

    @property
    def kept(self) -> bool:
        """Whether its answer, if it gives one, may be served again: it says why it ended."""
        return self.strike.fault is not Fault.TRAILER_NO_FINISH

    @property
    def status(self) -> int:
        """Of a refusal, in HTTP."""
        if self.strike.fault.endswith("_hang"):
            return 504
        return 429 if self.strike.fault is Fault.RATE_LIMITED else 503


# Bytes that nobody asked for behind an answer put in doubt where it ends: it is not used.
_NOT_TRUSTED = {
    False: (Fault.TRAILER_EXTRA_DATA, Fault.TRAILER_EXTRA_EVENTS),
    True: (Fault.TRAILER_EXTRA_DATA,),
}
# After the last event by the rules of its wire nothing can make a stream less whole.
_AFTER_END = (Fault.TRAILER_NO_FINAL_CHUNK, Fault.TRAILER_WRONG_LENGTH)
_WHOLE_ENOUGH: dict[tuple[str, bool], tuple[Fault, ...]] = {
    # Many servers of this family leave the one or the other out.
    ("openai", False): (Fault.TRAILER_NO_USAGE, Fault.TRAILER_NO_FINISH),
    ("openai", True): (*_AFTER_END, Fault.TRAILER_NO_USAGE),
    ("anthropic", False): (Fault.TRAILER_NO_USAGE,),
    ("anthropic", True): (*_AFTER_END, Fault.TRAILER_NO_USAGE),
    ("gemini", False): (Fault.TRAILER_NO_USAGE,),
    # Their usage comes last: a stream without it has not come to its end.
    ("gemini", True): _AFTER_END,
    ("bedrock", False): (Fault.TRAILER_NO_USAGE,),
    ("bedrock", True): _AFTER_END,
}


def cases() -> list[Case]:
    """Every fault on every surface with OpenAI's wire behind it, and on one with each other."""
    return [
        Case(wire, surface, stream, strike)
        for wire in WIRES
        for surface in (NAMES if wire == "openai" else NAMES[:1])
        for stream in (False, True)
        for strike in STRIKES
    ]
