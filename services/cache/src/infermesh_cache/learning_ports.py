"""What the semantic tier needs besides vectors: questions, lessons, shared tuners."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from infermesh_cache.domain.semantic.decision import Decision
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats

JsonObject = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it reaches the semantic tier.

    Attributes:
        protocol: form of the request and of its answer, for example "openai.chat".
        models: Model resources whose answer is accepted.
        body: the request, as JSON.
        task: kind of task.
        call_cost_usd: what a model's answer is expected to cost; None when that is not known.
        decision_id: of the decision that the answer will be part of.
        key_id: public part of the verified key that asks.
        team: of that key; empty when it has none.
    """

    protocol: str
    models: tuple[str, ...]
    body: bytes
    task: str
    call_cost_usd: Decimal | None
    decision_id: str
    key_id: str
    team: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a request asks, in a form that can be compared.

    Attributes:
        context: hexadecimal digest of what must be equal.
        text: what is compared by meaning.
        vector: embedding of `text`, unit length.
        space: of the vector; part of `context`, so that two spaces are never compared.
        flags: how the request was read, for explanations.
    """

    context: str
    text: str
    vector: Floats
    space: EmbeddingSpace
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question is asked; part of its context.

    Attributes:
        tenant: whose request it is.
        epoch: of the tenant's cache.
        category: whose evidence decides.
        bind_history: earlier turns must be equal whatever the last one says.
    """

    tenant: str
    epoch: int
    category: str
    bind_history: bool


class QuestionReader(Protocol):
    """Reads questions out of requests; what takes the processor, off the event loop."""

    async def read(self, asked: Asked, place: Place) -> Question | None:
        """The question; None when the request has none that could be compared by meaning.

        Raises:
            Unavailable: the embedding cannot be computed in time.
        """


class AnswerComparer(Protocol):
    """Says whether two answers say the same."""

    async def same(self, left: bytes, right: bytes, question: str) -> bool:
        """Whether one could be served for the other.

        Args:
            left: body of a chat completion.
            right: another one.
            question: that both are answers to.

        Raises:
            Unavailable: that cannot be found out now; likewise DeadlineExceeded.
        """

    def identity(self, body: bytes) -> str:
        """Names an answer: bodies of one identity are the same; others may be so too."""


class AnswerJudge(Protocol):
    """A model that reads two answers."""

    async def same(self, question: str, left: str, right: str) -> bool:
        """Whether both tell who asked the same.

        Args:
            question: that both are answers to.
            left: what one answer says.
            right: what the other says.

        Raises:
            Unavailable: it cannot be asked now.
            DeadlineExceeded: likewise.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A question that goes to a model: what to do once its answer is there.

    Attributes:
        category: whose tuner decided.
        question: for the entry to come.
        scope: likewise.
        decision: what was decided about a proposal; None: there was none.
        proposed: `entry_id` of the entry that proposed; empty without one.
    """

    category: str
    question: Question
    scope: str
    decision: Decision | None
    proposed: str


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """An answer that the tier served, for those who complain.

    Attributes:
        category: whose tuner decided.
        decision: what was decided.
        entry_id: of the entry served.
    """

    category: str
    decision: Decision
    entry_id: str


class Lessons(Protocol):
    """Keeps decisions until their outcome is known, for all replicas. Each is taken once.

    Every method raises `Unavailable` or `DeadlineExceeded` when the store does not answer in time.
    """

    async def keep_lesson(self, tenant: str, token: str, lesson: Lesson) -> None:
        """Until the model's answer comes, or for a while."""

    async def take_lesson(self, tenant: str, token: str) -> Lesson | None:
        """The lesson, for the first who asks."""

    async def keep_served(self, tenant: str, decision_id: str, served: Served) -> None:
        """As long as feedback is taken."""

    async def take_served(self, tenant: str, decision_id: str) -> Served | None:
        """What was served, for the first who asks."""

    async def may_complain(self, tenant: str, key_id: str) -> bool:
        """Counts feedback of a key; whether it is within the key's quota of this hour."""


@dataclass(frozen=True, slots=True)
class SharedState:
    """What the replicas agree on of one tuner.

    Attributes:
        version: counts its changes.
        document: the state.
    """

    version: int
    document: bytes


@dataclass(frozen=True, slots=True)
class Example:
    """An outcome, for the error models of all replicas.

    Attributes:
        regime: of the evidence it belongs to.
        features: of the proposal.
        wrong: whether it was.
        origin: replica that found it out.
    """

    regime: int
    features: tuple[float, ...]
    wrong: bool
    origin: str


class TunerStates(Protocol):
    """What the replicas know of the tuner of a tenant and category; errors as of `Lessons`."""

    async def load(self, tenant: str, category: str) -> SharedState | None:
        """What was saved last."""

    async def swap(self, tenant: str, category: str, version: int, document: bytes) -> bool:
        """Saves `document` as version + 1, if `version` is the present one; 0: if there is none."""

    async def load_metric(self, tenant: str, category: str) -> bytes | None:
        """The metric that was saved last."""

    async def save_metric(self, tenant: str, category: str, document: bytes) -> None:
        """Saves a metric."""

    async def add_examples(self, tenant: str, category: str, examples: Sequence[Example]) -> None:
        """Tells the others of outcomes; the oldest are forgotten."""

    async def examples_after(
        self, tenant: str, category: str, cursor: str
    ) -> tuple[str, Sequence[Example]]:
        """Outcomes told after `cursor`, empty at first, and the next cursor."""
