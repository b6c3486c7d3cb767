"""What goes into an inference and what comes out.

Money is `Decimal`; None means unknown, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias, Union

JsonValue: TypeAlias = Union[
    None, bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"]
]
"""Whatever JSON can say."""


class Tier(StrEnum):
    """Where an answer came from."""

    UNKNOWN = "unknown"
    """A tier that this version of the SDK does not know."""
    NONE = "none"
    """A model answered."""
    EXACT = "exact"
    SEMANTIC = "semantic"
    INTERMEDIATE = "intermediate"


class CacheStatus(StrEnum):
    """What the caches did for one request."""

    UNKNOWN = "unknown"
    """A status that this version of the SDK does not know."""
    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"
    REFRESH = "refresh"
    INELIGIBLE = "ineligible"
    """The policy excludes such requests."""
    UNAVAILABLE = "unavailable"
    """The cache did not answer in time."""
    SHARED = "shared"
    """Served the answer to an identical request that was in flight."""


@dataclass(frozen=True, slots=True)
class CacheControl:
    """What one request asks of the caches.

    Args:
        bypass: neither read nor write any cache.
        refresh: ask the model and replace the entry.
        only_if_cached: answer from a cache or raise NotFoundError, reason CACHE_MISS.
        no_store: do not write the answer to any cache.
        max_age_s: accept only entries at most that many seconds old; None: any age.
        ttl_s: keep this answer at most that many seconds; None: as the policy says.
    """

    bypass: bool = False
    refresh: bool = False
    only_if_cached: bool = False
    no_store: bool = False
    max_age_s: int | None = None
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that a model asked for.

    Args:
        id: what the tool's result refers to.
        name: the function.
        arguments: JSON text as the model wrote it, possibly invalid.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Args:
        role: "system", "developer", "user", "assistant" or "tool".
        content: its text.
        parts: content parts in OpenAI's form (text, image_url, …); takes precedence over `content`.
        name: name of the speaker; empty for none.
        tool_calls: of an assistant's turn.
        tool_call_id: the call a tool's turn answers.
    """

    role: str
    content: str = ""
    parts: tuple[Mapping[str, JsonValue], ...] = ()
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens in disjoint buckets: every token is in exactly one of them."""

    input_tokens: int = 0
    """Billed at the full input price."""
    cached_input_tokens: int = 0
    """Read from the provider's own prompt cache."""
    output_tokens: int = 0
    """Visible to the caller."""
    reasoning_tokens: int = 0
    """Spent on hidden reasoning."""
    batch_input_tokens: int = 0
    batch_output_tokens: int = 0
    cache_write_input_tokens: int = 0
    """Written to the provider's own prompt cache."""

    @property
    def total_tokens(self) -> int:
        """Sum of all buckets."""
        return sum(int(getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Time spent in one stage of a request, for example "cache.lookup"."""

    stage: str
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that was weighed.

    Args:
        model: name of the Model resource.
        eligible: whether it met every constraint.
        reason: why, in one sentence.
        estimated_cost: of this request on this model; None when its price is unknown.
    """

    model: str
    eligible: bool
    reason: str
    estimated_cost: Decimal | None


class SemanticVerdict(StrEnum):
    """What the semantic tier did with the answer it proposed."""

    UNKNOWN = "unknown"
    """A verdict that this version of the SDK does not know."""
    NONE = "none"
    """Nothing was proposed."""
    SERVED = "served"
    EXPLORED = "explored"
    """A model answered too, to learn whether the proposal was right."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SemanticMatch:
    """How sure the semantic tier was of one request."""

    verdict: SemanticVerdict
    reason: str
    """Why, UPPER_SNAKE."""
    similarity: float
    """Cosine with the entry proposed, from -1 to 1."""
    probability: float | None
    """That the proposed answer is right. None: too little is known."""
    error_bound: float
    """Upper limit of the share of all requests answered wrongly because of the cache."""
    confidence: float
    """With which that limit holds, at every time."""
    delta: float
    """Share that the policy permits."""
    entry: str
    """Hexadecimal fingerprint of the entry proposed; empty without a proposal."""
    category: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a request got the answer it got, and what that cost and saved."""

    decision_id: str
    """Also the id of the event in the ledger: `client.event(decision_id)`."""
    tier: Tier
    cache_status: CacheStatus
    model: str
    """Name of the Model resource whose answer this is."""
    provider: str
    reason: str
    """Why this model and tier, in one sentence."""
    candidates: tuple[Candidate, ...]
    """Every model weighed, cheapest eligible first. Empty on a hit."""
    price_version: str
    currency: str
    """ISO 4217 code of every amount here; empty when none is known."""
    cost: Decimal | None
    """What this request cost. None: unknown."""
    baseline_cost: Decimal | None
    """What it would have cost on the baseline model without the mesh. None: unknown."""
    saved: Decimal | None
    """baseline_cost - cost. None: unknown."""
    baseline_model: str
    usage: TokenUsage | None
    """Tokens billed; all zero on a hit. None: unknown."""
    baseline_usage: TokenUsage | None
    """Tokens the baseline would have been billed for. None: unknown."""
    stages: tuple[StageTiming, ...]
    """Where the time went, in order."""
    configuration_revision: str
    entry_age_s: float | None
    """Age of the entry served; None without a hit."""
    fingerprint: str
    """Hexadecimal; names the entry for `invalidate_cache`. Empty when no cache was eligible."""
    store_outcome: str
    """Whether the answer was handed to the cache, and why not."""
    fallbacks: tuple[str, ...]
    """Models tried before the one that answered, with their failures."""
    semantic: SemanticMatch | None = None
    """How sure the semantic tier was. None: it was not asked."""


@dataclass(frozen=True, slots=True)
class InferResult:
    """One answer.

    Args:
        text: text of the answer; empty when the model only called tools.
        message: the whole turn, with its tool calls.
        model: the model as its provider names it.
        finish_reason: OpenAI's, for example "stop".
        usage: tokens the answer is worth, on a hit those of the entry; None when unknown.
        decision: why it is this answer, and its cost.
        request_id: what to quote when reporting a problem.
    """

    text: str
    message: Message
    model: str
    finish_reason: str
    usage: TokenUsage | None
    decision: Decision
    request_id: str
