"""Records in Milvus, one collection for each embedding space and format.

Works with Milvus 2.4 and later and with Milvus Lite's server, which keeps the collection's TTL but
does not act on it and cannot say when an index is ready: hence `purge`, and `_indexed`.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import grpc
import structlog
from pymilvus import AsyncMilvusClient, DataType
from pymilvus.exceptions import ErrorCode, MilvusException

from infermesh_cache.adapters.outbound.vectors import milvus_rows as rows
from infermesh_cache.adapters.outbound.vectors.checks import unit_vector
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats, Near, Removal
from infermesh_cache.vector_ports import Page, Removed, Stamped
from infermesh_common.resilience import Dependency

_log = structlog.get_logger(__name__)
# It logs every failure with a traceback; failures are counted and logged here, without texts.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
T = TypeVar("T")
FAILURES = (MilvusException, grpc.RpcError, OSError)
"""What the client raises when Milvus fails."""
_RECONNECT = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2000}
_GRAPH = {"M": 16, "efConstruction": 128}
_EXPANSION = 128
_PAUSES_S = (0.2, 1.0)
"""Between attempts to open."""
# The deletion of a removal, and other small texts of rows.
_TEXTS = ("pk", "entry_key", "context_key", "scope_key", "model_key")
_NUMBERS = ("stamp_us", "create_us", "expire_us")


class MilvusVectors:
    """Implements `VectorStore`.

    Args:
        space: of all vectors; its name is part of the collection's.
        dependency: breaker and bulkhead of Milvus.
        uri: for example http://127.0.0.1:19530.
        token: "user:password" or an API key; "" without authentication.
        timeout_ms: longest time of a search, in milliseconds.
        write_timeout_ms: of any other call.
        page_rows: most rows of a page.
        keep_ms: how long rows are kept at the most.
    """

    def __init__(
        self,
        space: EmbeddingSpace,
        dependency: Dependency,
        *,
        uri: str,
        token: str,
        timeout_ms: int,
        write_timeout_ms: int,
        page_rows: int,
        keep_ms: int,
    ) -> None:
        self._space = space
        self._dependency = dependency
        self._timeout_ms = timeout_ms
        self._write_timeout_ms = write_timeout_ms
        self._page_rows = page_rows
        self._keep_us = keep_ms * 1000
        self.collection = collection_name(space)
        self._client = AsyncMilvusClient(
            uri=uri, token=token, dedicated=True, grpc_options=_RECONNECT
        )

    async def open(self) -> str:
        """See `VectorStore.open`."""
        return await self._guarded(self._open, self._write_timeout_ms)

    async def _open(self) -> str:
        # What another replica is just making can be refused in ways of its own.
        for pause_s in _PAUSES_S:
            try:
                return await self._prepared()
            except MilvusException as error:
                _log.info("milvus_not_ready", code=error.code)
                await asyncio.sleep(pause_s)
        return await self._prepared()

    async def _prepared(self) -> str:
        """Collection, index and identity are there; the identity."""
        # Each step by itself: another replica may be between any two of them.
        if not await self._client.has_collection(self.collection, retry_times=0):
            await self._create()
        if not await self._client.list_indexes(self.collection, retry_times=0):
            await self._index()
        await self._client.load_collection(self.collection, retry_times=0)
        expression = rows.of_tenant(rows.IDENTITY_TENANT, f"kind == {rows.IDENTITY}")
        found = await self._query(expression, ["body"], 1)
        if not found:
            made = rows.identity_row(uuid.uuid4().hex, self._space.dimension)
            await self._upsert([made])
            # Another replica may have done so at the same time: what stands there counts.
            found = await self._query(expression, ["body"], 1)
        return rows.identity_of(found[0] if found else made)

    async def _create(self) -> None:
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for name in _TEXTS:
            is_key = name == "pk"
            schema.add_field(name, DataType.VARCHAR, max_length=rows.KEY_LENGTH, is_primary=is_key)
        schema.add_field(
            "tenant", DataType.VARCHAR, max_length=rows.LONGEST_TENANT, is_partition_key=True
        )
        schema.add_field("kind", DataType.INT64)
        for name in _NUMBERS:
            schema.add_field(name, DataType.INT64)
        schema.add_field(
            "tag_keys",
            DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_capacity=rows.MOST_TAGS,
            max_length=rows.KEY_LENGTH,
        )
        schema.add_field("body", DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._space.dimension)
        try:
            await self._client.create_collection(
                self.collection,
                schema=schema,
                properties={"collection.ttl.seconds": self._keep_us // 1_000_000},
                consistency_level="Bounded",
                retry_times=0,
            )
        except MilvusException:
            # Another replica may have made it at the same time.
            if not await self._client.has_collection(self.collection, retry_times=0):
                raise

    async def _index(self) -> None:
        params = self._client.prepare_index_params()
        params.add_index("vector", index_type="HNSW", metric_type="COSINE", params=_GRAPH)
        try:
            await self._client.create_index(self.collection, params, retry_times=0)
        except (MilvusException, grpc.RpcError):
            # Milvus Lite makes it, and then cannot be asked for the time by which it is ready.
            if not await self._client.list_indexes(self.collection, retry_times=0):
                raise

    async def nearest(
        self,
        tenant: str,
        context: str,
        scopes: Sequence[str],
        vector: Floats,
        limit: int,
        now_us: int,
    ) -> Sequence[tuple[Near, int]]:
        """See `VectorStore.nearest`."""
        unit = unit_vector(vector, self._space.dimension)
        conditions = rows.near_conditions(context, scopes, now_us)
        expression = rows.of_tenant(tenant, *conditions)
        if not scopes or limit <= 0:
            return ()

        async def search() -> Sequence[tuple[Near, int]]:
            found = await self._client.search(
                self.collection,
                data=[unit.tolist()],
                limit=limit,
                filter=expression,
                output_fields=list(rows.FIELDS),
                search_params={"metric_type": "COSINE", "params": {"ef": _EXPANSION}},
                anns_field="vector",
                retry_times=0,
            )
            result = []
            for hit in found[0]:
                item = rows.record_of(hit["entity"])
                near = Near(item.record, float(item.record.vector @ unit))
                result.append((near, item.stamp_us))
            return sorted(result, key=lambda pair: -pair[0].similarity)

        return await self._guarded(search, self._timeout_ms)

    async def put(self, items: Sequence[tuple[str, Stamped]]) -> None:
        """See `VectorStore.put`."""
        made = []
        for tenant, item in items:
            rows.quoted(tenant)
            unit = unit_vector(item.record.vector, self._space.dimension)
            made.append(rows.record_row(tenant, item, unit))
        await self._guarded(lambda: self._upsert(made), self._write_timeout_ms)

    async def remove(self, tenant: str, removed: Removed) -> None:
        """See `VectorStore.remove`."""
        until = f"stamp_us <= {removed.stamp_us}"
        expression = rows.of_tenant(tenant, *rows.removal_conditions(removed.removal), until)
        keep_until_us = removed.stamp_us + self._keep_us
        row = rows.removal_row(tenant, removed, keep_until_us, self._space.dimension)

        async def remove() -> None:
            # First what others learn it by: a removal that is cut short is seen all the same.
            if not removed.removal.entry_id:
                await self._upsert([row])
                await self._client.delete(self.collection, filter=expression, retry_times=0)
            elif await self._query(expression, ["pk"], 1):
                await self._upsert([row])

        await self._guarded(remove, self._write_timeout_ms)

    async def page(self, tenant: str, from_us: int, until_us: int) -> Page:
        """See `VectorStore.page`."""

        async def read() -> Page:
            low = from_us
            while True:
                window = (f"stamp_us >= {low}", f"stamp_us < {until_us}")
                expression = rows.of_tenant(tenant, *window)
                found = await self._query(expression, rows.FIELDS, self._page_rows + 1)
                if len(found) <= self._page_rows or until_us - low <= 1:
                    return _page(found, low, until_us)
                low = until_us - (until_us - low) // 2

        return await self._guarded(read, self._write_timeout_ms)

    async def get(self, tenant: str, entry_id: str) -> Stamped | None:
        """See `VectorStore.get`."""
        conditions = rows.removal_conditions(Removal(entry_id=entry_id))
        expression = rows.of_tenant(tenant, *conditions)
        found = await self._guarded(
            lambda: self._query(expression, rows.FIELDS, 1), self._timeout_ms
        )
        return rows.record_of(found[0]) if found else None

    async def count(self, tenant: str, removal: Removal, now_us: int) -> int:
        """See `VectorStore.count`."""
        conditions = [*rows.removal_conditions(removal), f"expire_us > {now_us}"]
        expression = rows.of_tenant(tenant, *conditions)
        found = await self._guarded(
            lambda: self._query(expression, ["count(*)"], None), self._write_timeout_ms
        )
        number = found[0]["count(*)"] if found else 0
        return number if isinstance(number, int) else 0

    async def purge(self, tenant: str, now_us: int) -> None:
        """See `VectorStore.purge`."""
        expression = rows.of_tenant(tenant, f"expire_us <= {now_us}")
        await self._guarded(
            lambda: self._client.delete(self.collection, filter=expression, retry_times=0),
            self._write_timeout_ms,
        )

    async def close(self) -> None:
        """See `VectorStore.close`."""
        try:
            await self._client.close()
        except FAILURES as error:
            _log.info("milvus_not_closed", error=type(error).__name__)

    async def _query(
        self, expression: str, fields: Sequence[str], limit: int | None
    ) -> Sequence[Mapping[str, object]]:
        bound = {} if limit is None else {"limit": limit}
        found: Sequence[Mapping[str, object]] = await self._client.query(
            self.collection,
            filter=expression,
            output_fields=list(fields),
            retry_times=0,
            **bound,
        )
        return found

    async def _upsert(self, made: Sequence[rows.Row]) -> None:
        await self._client.upsert(self.collection, list(made), retry_times=0)

    async def _guarded(self, operation: Callable[[], Awaitable[T]], timeout_ms: int) -> T:
        async def checked() -> T:
            try:
                return await operation()
            except MilvusException as error:
                if error.code != ErrorCode.COLLECTION_NOT_FOUND:
                    raise
            # Wiped: what it is to hold is made anew, and its new identity tells.
            await self._open()
            return await operation()

        return await self._dependency.call(checked, timeout_ms=timeout_ms, failures=FAILURES)


def collection_name(space: EmbeddingSpace) -> str:
    """Of letters, digits and underscores, as Milvus wants it; another one for another space."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", space.name)[:100]
    digest = rows.key(space.name, str(space.dimension))[:12]
    return f"infermesh_v{rows.FORMAT}_{plain}_{digest}"


def _page(found: Sequence[Mapping[str, object]], from_us: int, until_us: int) -> Page:
    records, removals = [], []
    for row in found:
        try:
            if rows.kind_of(row) == rows.RECORD:
                records.append(rows.record_of(row))
            elif rows.kind_of(row) == rows.REMOVAL:
                removals.append(rows.removal_of(row))
        except ValueError as error:
            _log.warning("corrupt_vector_row", reason=str(error))
    return Page(records, removals, from_us, until_us)
