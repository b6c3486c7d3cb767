"""What the router needs of others, named by need."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from infermesh_common.identity.model import Identity
from infermesh_common.resources.types import Model, Provider
from infermesh_common.usage import Usage
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.decision import Decision, Outcome
from infermesh_router.domain.request import InferenceRequest, JsonObject, Surface
from infermesh_router.domain.semantic import SemanticMatch, SemanticQuestion


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An entry of the cache.

    Attributes:
        body: complete, unstreamed body of the surface's protocol.
        model: name of the Model resource that answered.
        provider: name of the Provider resource that was called.
        usage: what the answer cost in tokens; None when it was not reported.
        age_s: time since it was stored.
        ttl_s: how long it lives from then on; 0 when that is not known.
        shared: it was waited for, an identical request was in flight.
        semantic: how sure it is that the answer to another question is right for this one; None:
            the request is the same.
    """

    body: bytes
    model: str
    provider: str
    usage: Usage | None
    age_s: float
    ttl_s: float = 0.0
    shared: bool = False
    semantic: SemanticMatch | None = None


@dataclass(frozen=True, slots=True)
class Leased:
    """No entry, and this request is to make it for all who wait.

    Attributes:
        token: proves the lease.
        ttl_s: lost when not renewed within this time.
        semantic: what the semantic tier made of the request; None: it was not asked.
        semantic_token: for `NewEntry`.
    """

    token: str
    ttl_s: float
    semantic: SemanticMatch | None = None
    semantic_token: str = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """No entry, and somebody else is making it, or nobody is to share it; fields as in `Leased`."""

    semantic: SemanticMatch | None = None
    semantic_token: str = ""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An answer to store; fields as in `CachedAnswer`, and `semantic_token` out of the lookup."""

    body: bytes
    model: str
    provider: str
    usage: Usage | None
    tags: tuple[str, ...]
    ttl_s: int
    semantic_token: str = ""


class ExactCache(Protocol):
    """Tier 1, and tier 2 behind it. Every call raises `InfermeshError` when the cache does not
    answer in time."""

    async def lookup(
        self,
        fingerprint: bytes,
        *,
        max_age_s: int | None,
        single_flight: bool,
        wait_ms: int,
        semantic: SemanticQuestion | None = None,
    ) -> CachedAnswer | Leased | Missed:
        """Finds an entry, or takes the lease to make it, or waits for who has it. With `semantic`,
        an answer to a question of the same meaning will do."""

    async def store(self, fingerprint: bytes, lease_token: str, entry: NewEntry) -> str:
        """Stores an answer; returns why it was not stored, empty when it was."""

    async def renew(self, fingerprint: bytes, lease_token: str) -> bool:
        """Keeps a lease; False when it is lost."""

    async def release(self, fingerprint: bytes, lease_token: str) -> None:
        """Gives a lease up without an answer."""


@dataclass(frozen=True, slots=True)
class EntryChanges:
    """What the cache service answers to those who keep copies of entries.

    Attributes:
        cursor: for the next poll.
        tenants: whose copies are to go; None: everybody's.
        lease_s: how long copies may be served, from the moment of asking.
    """

    cursor: str
    tenants: frozenset[str] | None
    lease_s: float


class EntryChangeFeed(Protocol):
    """Tells what has become of entries."""

    async def poll(self, cursor: str) -> EntryChanges:
        """What has changed since `cursor`, empty at first.

        Raises:
            InfermeshError: the cache service does not answer in time.
        """


@dataclass(slots=True)
class Attempt:
    """What becomes known of one call of a provider, for who decides about another one.

    Attributes:
        called: the provider may have got the request, and may bill for it.
        repeatable: it failed for a reason that the next call of the same model may be free of: a
            key that was refused, while there is another; a connection that had been idle too long.
    """

    called: bool = False
    repeatable: bool = False


class ModelProvider(Protocol):
    """An endpoint that serves models.

    Errors are `InfermeshError`s. Unavailable, DeadlineExceeded and ResourceExhausted mean that
    another provider may do better; the rest are the request's own fault.
    """

    async def complete(
        self,
        provider: Provider,
        model: Model,
        surface: Surface,
        body: JsonObject,
        attempt: Attempt,
    ) -> Answer:
        """The whole answer. `attempt` is filled in, whatever becomes of the call."""

    def stream(
        self,
        provider: Provider,
        model: Model,
        surface: Surface,
        body: JsonObject,
        attempt: Attempt,
    ) -> AsyncGenerator[list[Chunk], None]:
        """The chunks of a streamed answer, together those that came together; never none. The
        first come with the first content: text, a call of a tool, reasoning, a refusal, an end.

        A stream that ends before the answer does raises Unavailable (PROVIDER_STREAM_BROKEN).
        Closing the generator closes the connection.
        """


class UsageSink(Protocol):
    """Where every inference is written down. Must not block or fail."""

    def record(
        self,
        request: InferenceRequest,
        caller: Identity,
        decision: Decision,
        outcome: Outcome,
        *,
        error_reason: str,
        duration_us: int,
        first_byte_us: int,
        request_time_s: float,
    ) -> None:
        """Writes one inference down."""

    async def written(self) -> None:
        """Returns when what was recorded so far outlives this process, or cannot for now."""
