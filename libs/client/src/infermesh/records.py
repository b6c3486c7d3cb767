"""What the mesh keeps: usage, events, keys, tenants, models.

Money is `Decimal`; None means unknown, never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from infermesh.inference import Decision, SemanticMatch, TokenUsage


class Dimension(StrEnum):
    """What usage can be grouped by."""

    TENANT = "tenant"
    MODEL = "model"
    TAG = "tag"
    """An event with two tags counts in both rows."""
    DAY = "day"
    """In UTC."""


class Outcome(StrEnum):
    """How an inference ended."""

    UNKNOWN = "unknown"
    """An outcome that this version of the SDK does not know."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """The caller went away before the end."""


class Role(StrEnum):
    """What the bearer of a key may do."""

    UNKNOWN = "unknown"
    """A role that this version of the SDK does not know."""
    MEMBER = "member"
    """Asks for inferences and reads its own tenant's usage."""
    ADMIN = "admin"
    """Also manages its own tenant's keys and cache."""
    OPERATOR = "operator"
    """Manages every tenant; bound to none."""
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which events count. What is left out does not restrict.

    Args:
        tenant: empty: the caller's own, or every one for an operator.
        model: model that answered.
        tag: one label of the caller.
        start_time: inclusive, with a time zone.
        end_time: exclusive, with a time zone.
    """

    tenant: str = ""
    model: str = ""
    tag: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group of inferences. Dimensions that were not asked for are empty."""

    tenant: str
    model: str
    tag: str
    day: str
    """YYYY-MM-DD in UTC."""
    requests: int
    """Inferences that were answered."""
    cache_hits: int
    hit_rate: float
    """cache_hits / requests, in [0, 1]."""
    failures: int
    currency: str
    """ISO 4217 code of the amounts; empty when none is known."""
    cost: Decimal | None
    """Sum over events with a known cost."""
    baseline_cost: Decimal | None
    """Sum over events with a known baseline."""
    saved: Decimal | None
    """Sum over events in which both are known."""
    unpriced_requests: int
    """Inferences whose cost is unknown and in no sum."""
    usage: TokenUsage
    """Tokens billed."""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One inference as the ledger has it."""

    event_id: str
    """Equal to the decision's id."""
    request_id: str
    """Id the client gave the request; not unique."""
    request_time: datetime
    """When it arrived, in UTC."""
    tenant: str
    key_id: str
    requested_model: str
    """Model the caller named, for example "auto"."""
    protocol: str
    task: str
    tags: tuple[str, ...]
    streamed: bool
    outcome: Outcome
    error_reason: str
    """UPPER_SNAKE; empty when it succeeded."""
    duration_ms: float
    """Whole time in the router."""
    first_byte_ms: float
    """Time to the first byte of the answer."""
    decision: Decision


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One model the router may choose."""

    name: str
    provider: str
    aliases: tuple[str, ...]
    capabilities: tuple[str, ...]
    context_tokens: int
    quality: Mapping[str, float]
    """By task, in [0, 1], as its resource states it."""
    latency_ms: int | None
    """Typical latency to the whole answer; None when not stated."""
    priced: bool
    """Whether its price is known."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret."""

    key_id: str
    tenant: str
    """Empty for an operator."""
    role: Role
    description: str
    create_time: datetime | None
    """None: not known, as of a key that is declared in a resource."""
    expire_time: datetime | None
    """None: does not expire."""
    revoke_time: datetime | None
    """None: not revoked."""
    team: str
    """Empty: none."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new API key. Its secret is shown this once; it is not in the repr."""

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of the mesh."""

    name: str
    display_name: str
    suspended: bool


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Cache of the caller's tenant."""

    entries: int
    stored_bytes: int
    """As stored, that is compressed."""
    limit_bytes: int
    epoch: int


@dataclass(frozen=True, slots=True)
class SemanticCandidate:
    """An entry near a request."""

    fingerprint: str
    text: str
    """The question it answers, as it was embedded."""
    similarity: float
    answer: str
    """Entries with equal values answer the same."""
    scope: str
    """Whom it may serve."""
    model: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class SemanticEvidence:
    """What decisions of a category rest on."""

    requests: int
    served: int
    compared: int
    """Proposals compared with the answer of a model."""
    compared_wrong: int
    known_wrong: int
    """Answers served that are known to have been wrong."""
    estimated_error: float
    """Estimate of the share of requests answered wrongly because of the cache."""
    error_bound: float
    """Its upper limit, at the stated confidence."""


@dataclass(frozen=True, slots=True)
class SemanticExplanation:
    """What the semantic tier would make of a request."""

    match: SemanticMatch
    explanation: str
    """The same in a sentence."""
    text: str
    context: str
    """Digest of the part of the request that must be equal."""
    space: str
    """Name of the embedding model."""
    candidates: tuple[SemanticCandidate, ...]
    features: Mapping[str, float]
    """Signs of the proposed answer's being right."""
    price: float
    """Probability of being wrong up to which is served."""
    evidence: SemanticEvidence
    flags: tuple[str, ...]
    """How the request was read, for example "leaning:pronoun": earlier turns must be equal."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the mesh can answer."""

    status: str
    """"SERVING", "DEGRADED" (answers, without a helper) or "NOT_SERVING"."""
    dependencies: Mapping[str, str]
    """Each with "SERVING" or "NOT_SERVING"."""
    configuration_revision: str
    version: str
