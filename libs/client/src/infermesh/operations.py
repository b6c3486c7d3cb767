"""What the blocking client can ask besides inferences."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import grpc

from infermesh.analytics.v1 import ledger_pb2, ledger_pb2_grpc
from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc, retrieval_pb2_grpc
from infermesh.common.v1 import page_pb2
from infermesh.governance.v1 import keys_pb2, keys_pb2_grpc, tenants_pb2, tenants_pb2_grpc
from infermesh.inference import JsonValue, Message
from infermesh.paging import Page, Pager
from infermesh.records import (
    CacheStats,
    Dimension,
    Health,
    IssuedKey,
    Key,
    RegisteredModel,
    Role,
    SemanticExplanation,
    Tenant,
    UsageEvent,
    UsageFilter,
    UsageRow,
)
from infermesh.retrieval import ContextualChunk, Passage, RetrievalDocument
from infermesh.router.v1 import operations_pb2, operations_pb2_grpc
from infermesh.wire import records, requests, retrieval
from infermesh.wire.transport import Transport

Request = TypeVar("Request")
Response = TypeVar("Response")
T = TypeVar("T")


class Operations:
    """Usage, keys, tenants, models, cache and health of a mesh.

    Every method takes `timeout_s`, the deadline of one call in seconds (None: the client's), and
    raises `InfermeshError`. Lists come as a `Pager` and are asked for while they are iterated;
    `page_size` 0 leaves the size of a page to the mesh.

    Args:
        transport: the connection.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        channel = transport.channel
        self._router = operations_pb2_grpc.OperationsServiceStub(channel)
        self._ledger = ledger_pb2_grpc.LedgerServiceStub(channel)
        self._keys = keys_pb2_grpc.KeyServiceStub(channel)
        self._tenants = tenants_pb2_grpc.TenantServiceStub(channel)
        self._cache = cache_pb2_grpc.CacheServiceStub(channel)
        self._retrieval = retrieval_pb2_grpc.RetrievalServiceStub(channel)

    def usage(
        self,
        group_by: Sequence[Dimension | str] = (),
        filter: UsageFilter | None = None,
        *,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[UsageRow]:
        """Spend, saving, tokens and hit rate, largest baseline first.

        Args:
            group_by: "tenant", "model", "tag", "day"; nothing gives one row of totals.
            filter: which inferences count.
        """
        return self._pager(
            self._ledger.QueryUsage,
            lambda page: requests.usage_request(group_by, filter, page),
            records.usage_page,
            page_size,
            timeout_s,
        )

    def event(self, event_id: str, *, timeout_s: float | None = None) -> UsageEvent:
        """One inference with its decision; `event_id` is the `decision_id` of its result."""
        request = ledger_pb2.GetEventRequest(event_id=event_id)
        response = self._transport.call(self._ledger.GetEvent, request, timeout_s)
        return records.usage_event(response.event)

    def events(
        self,
        filter: UsageFilter | None = None,
        *,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[UsageEvent]:
        """Inferences, newest first."""
        return self._pager(
            self._ledger.ListEvents,
            lambda page: requests.events_request(filter, page),
            records.event_page,
            page_size,
            timeout_s,
        )

    def models(
        self, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[RegisteredModel]:
        """The models the router may choose from."""
        return self._pager(
            self._router.ListRegisteredModels,
            lambda page: operations_pb2.ListRegisteredModelsRequest(page=page),
            records.model_page,
            page_size,
            timeout_s,
        )

    def health(self, *, timeout_s: float | None = None) -> Health:
        """Whether the mesh can answer. Needs no key."""
        request = operations_pb2.GetHealthRequest()
        return records.health(self._transport.call(self._router.GetHealth, request, timeout_s))

    def create_key(
        self,
        *,
        tenant: str = "",
        role: Role | str = Role.MEMBER,
        description: str = "",
        expire_time: datetime | None = None,
        team: str = "",
        timeout_s: float | None = None,
    ) -> IssuedKey:
        """Issues an API key. Its secret is in what is returned and nowhere else.

        Args:
            tenant: empty: the caller's.
            role: "member", "admin" or "operator".
            description: what it is for.
            expire_time: with a time zone; None: does not expire.
            team: whom it belongs to within the tenant; empty: nobody.
        """
        request = requests.create_key_request(tenant, role, description, expire_time, team)
        return records.issued_key(self._transport.call(self._keys.CreateKey, request, timeout_s))

    def list_keys(
        self, *, tenant: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[Key]:
        """Keys without their secrets; of `tenant`, or of those the caller may see."""
        return self._pager(
            self._keys.ListKeys,
            lambda page: keys_pb2.ListKeysRequest(tenant=tenant, page=page),
            records.key_page,
            page_size,
            timeout_s,
        )

    def revoke_key(self, key_id: str, *, timeout_s: float | None = None) -> Key:
        """Revokes a key for good."""
        request = keys_pb2.RevokeKeyRequest(key_id=key_id)
        return records.key(self._transport.call(self._keys.RevokeKey, request, timeout_s).key)

    def tenants(self, *, page_size: int = 0, timeout_s: float | None = None) -> Pager[Tenant]:
        """Tenants the caller may see."""
        return self._pager(
            self._tenants.ListTenants,
            lambda page: tenants_pb2.ListTenantsRequest(page=page),
            records.tenant_page,
            page_size,
            timeout_s,
        )

    def invalidate_cache(
        self,
        *,
        model: str = "",
        tag: str = "",
        fingerprint: str = "",
        all: bool = False,
        dry_run: bool = False,
        timeout_s: float | None = None,
    ) -> int:
        """Removes entries of the caller's tenant, named by exactly one of the first four.

        Returns:
            How many were removed, or would be with `dry_run`.
        """
        request = requests.invalidate_request(
            model=model, tag=tag, fingerprint=fingerprint, everything=all, dry_run=dry_run
        )
        return self._transport.call(self._cache.Invalidate, request, timeout_s).count

    def cache_stats(self, *, timeout_s: float | None = None) -> CacheStats:
        """Size of the cache of the caller's tenant."""
        request = cache_pb2.GetStatsRequest()
        return records.cache_stats(self._transport.call(self._cache.GetStats, request, timeout_s))

    def explain_lookup(
        self,
        messages: Sequence[Message | Mapping[str, JsonValue]],
        *,
        models: Sequence[str],
        task: str = "",
        parameters: Mapping[str, JsonValue] | None = None,
        timeout_s: float | None = None,
    ) -> SemanticExplanation:
        """What the semantic tier would make of a chat request now. Changes and counts nothing.

        Args:
            messages: the conversation.
            models: names of the Model resources whose answer would be accepted.
            task: kind of task.
            parameters: further fields of the request, in OpenAI's form: all of it counts.
        """
        request = requests.explain_lookup_request(
            messages=messages, models=models, task=task, parameters=parameters or {}
        )
        response = self._transport.call(self._cache.ExplainLookup, request, timeout_s)
        return records.semantic_explanation(response)

    def send_feedback(
        self, decision_id: str, *, right: bool, timeout_s: float | None = None
    ) -> bool:
        """Says whether an answer that the semantic tier served was right; once for each.

        Args:
            decision_id: of the answer.
            right: whether it was.

        Returns:
            Whether the entry that proposed the answer was taken out of the tier.
        """
        request = requests.feedback_request(decision_id, right=right)
        return self._transport.call(self._cache.SendFeedback, request, timeout_s).retired

    def contextualise_chunks(
        self,
        documents: Sequence[RetrievalDocument],
        *,
        embed: bool = False,
        timeout_s: float | None = None,
    ) -> list[ContextualChunk]:
        """The chunks of documents with the lines that each needs to be understood by itself, for
        an index of one's own.

        Args:
            documents: in chunks.
            embed: whether each chunk comes with its embedding.
        """
        request = retrieval.contextualise_request(documents, embed=embed)
        call = self._retrieval.ContextualiseChunks
        return retrieval.chunks(self._transport.call(call, request, timeout_s))

    def rank_passages(
        self,
        documents: Sequence[RetrievalDocument],
        queries: Sequence[str],
        *,
        top_k: int = 20,
        timeout_s: float | None = None,
    ) -> list[list[Passage]]:
        """The passages of documents that answer each query best; nothing is stored.

        Args:
            documents: where to look.
            queries: what to look for.
            top_k: passages of each query.

        Returns:
            The passages of each query, best first.
        """
        request = retrieval.rank_request(documents, queries, top_k)
        call = self._retrieval.RankPassages
        return retrieval.passages(self._transport.call(call, request, timeout_s))

    def _pager(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        ask: Callable[[page_pb2.PageRequest], Request],
        read: Callable[[Response], Page[T]],
        page_size: int,
        timeout_s: float | None,
    ) -> Pager[T]:
        def fetch(token: str) -> Page[T]:
            request = ask(requests.page_request(page_size, token))
            return read(self._transport.call(method, request, timeout_s))

        return Pager(fetch)
