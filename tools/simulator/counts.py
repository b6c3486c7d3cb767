"""What was asked, what was answered, and the tokens to pay for."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from tools.simulator.faults import Fault
from tools.simulator.plan import Plan
from tools.simulator.script import Usage


class Tokens(TypedDict):
    """By bucket."""

    input: int
    cached_input: int
    cache_write_input: int
    output: int
    reasoning: int


class TallyReport(TypedDict):
    """Of a model or of a fault; `correct` is of models only."""

    requests: int
    answered: int
    tokens: Tokens
    correct: NotRequired[int]


class ConnectionsReport(TypedDict):
    """Accepted so far, and open now."""

    accepted: int
    open: int


class CountsReport(TypedDict):
    """The README says what they are."""

    requests: int
    answered: int
    abandoned: int
    unknown: int
    tokens: Tokens
    models: dict[str, TallyReport]
    faults: dict[str, TallyReport]
    connections: ConnectionsReport


class JournalEntry(TypedDict):
    """One request; the README says what the fields are."""

    model: str
    wire: str
    stream: bool
    status: int | None
    fault: str | None
    answered: bool
    usage: Tokens
    correct: bool | None
    request_id: str | None


@dataclass(slots=True)
class Tally:
    """Sums over some requests; tokens are those of answered ones."""

    requests: int = 0
    answered: int = 0
    correct: int = 0
    input: int = 0
    cached_input: int = 0
    cache_write_input: int = 0
    output: int = 0
    reasoning: int = 0

    def answer(self, usage: Usage, correct: bool) -> None:
        """Adds an answer."""
        self.answered += 1
        self.correct += correct
        self.input += usage.input
        self.cached_input += usage.cached_input
        self.cache_write_input += usage.cache_write_input
        self.output += usage.output
        self.reasoning += usage.reasoning

    def add(self, other: "Tally") -> None:
        """Adds all of another one."""
        self.requests += other.requests
        self.answered += other.answered
        self.correct += other.correct
        self.input += other.input
        self.cached_input += other.cached_input
        self.cache_write_input += other.cache_write_input
        self.output += other.output
        self.reasoning += other.reasoning

    def report(self) -> TallyReport:
        """As the README has it, of a fault."""
        return {"requests": self.requests, "answered": self.answered, "tokens": _tokens(self)}


@dataclass(slots=True)
class Counts:
    """Since the start or the last reset.

    Attributes:
        journal: the last requests, as many as it holds.
        abandoned: whose client left before the end.
        unknown: of which there is no record.
        accepted: connections; `open` those of now.
    """

    journal: deque[JournalEntry]
    requests: int = 0
    abandoned: int = 0
    unknown: int = 0
    models: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    faults: defaultdict[Fault, Tally] = field(default_factory=lambda: defaultdict(Tally))
    accepted: int = 0
    open: int = 0

    def reset(self) -> None:
        """All but the connections that are open."""
        self.requests = self.abandoned = self.unknown = self.accepted = 0
        self.models.clear()
        self.faults.clear()
        self.journal.clear()

    def asked(self, plan: Plan) -> None:
        """A request has come."""
        self.requests += 1
        self.models[plan.model].requests += 1
        if plan.fault is not None:
            self.faults[plan.fault].requests += 1
        if plan.unknown:
            self.unknown += 1

    def done(self, plan: Plan, request_id: str | None, *, sent: bool) -> None:
        """A request is over.

        Args:
            plan: what was to be done.
            request_id: the client's name for it.
            sent: all of it was; otherwise the client left before.
        """
        answered = sent and plan.answered
        if answered:
            self.models[plan.model].answer(plan.usage, plan.correct is True)
            if plan.fault is not None:
                self.faults[plan.fault].answer(plan.usage, plan.correct is True)
        if not sent:
            self.abandoned += 1
        if self.journal.maxlen:
            self.journal.append(_entry(plan, request_id, answered))

    def report(self) -> CountsReport:
        """As the README has it."""
        total = Tally()
        for tally in self.models.values():
            total.add(tally)
        return {
            "requests": self.requests,
            "answered": total.answered,
            "abandoned": self.abandoned,
            "unknown": self.unknown,
            "tokens": _tokens(total),
            "models": {
                model: {**tally.report(), "correct": tally.correct}
                for model, tally in self.models.items()
            },
            "faults": {fault.value: tally.report() for fault, tally in self.faults.items()},
            "connections": {"accepted": self.accepted, "open": self.open},
        }


def _tokens(of: Tally | Usage) -> Tokens:
    return {
        "input": of.input,
        "cached_input": of.cached_input,
        "cache_write_input": of.cache_write_input,
        "output": of.output,
        "reasoning": of.reasoning,
    }


def _entry(plan: Plan, request_id: str | None, answered: bool) -> JournalEntry:
    return {
        "model": plan.model,
        "wire": plan.wire,
        "stream": plan.stream,
        "status": plan.status,
        "fault": plan.fault.value if plan.fault else None,
        "answered": answered,
        "usage": _tokens(plan.usage),
        "correct": plan.correct,
        "request_id": request_id,
    }
