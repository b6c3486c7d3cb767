"""How records and removals stand in Milvus, and the expressions that choose them.

Whatever a caller may choose freely (tags, scopes, models) is compared by digests: no expression
holds a text that somebody else wrote, but for the tenant, which is quoted.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from infermesh_cache.semantic_ports import Floats, Removal, VectorRecord
from infermesh_cache.vector_ports import Removed, Stamped
from infermesh_common.errors import InvalidArgument

Row = dict[str, object]
RECORD, REMOVAL, IDENTITY = 0, 1, 2
FORMAT: Final = 1
"""Raise it with the fields: another format has collections of its own."""
IDENTITY_TENANT: Final = "-"
"""No tenant has this name."""
LONGEST_TENANT: Final = 256
KEY_LENGTH: Final = 32
MOST_TAGS: Final = 64
FIELDS: Final = ("kind", "stamp_us", "expire_us", "create_us", "body", "vector")
# A collection needs a vector in every row; that of a removal is never searched.
_FIRST: Final = 0


def key(*parts: str) -> str:
    """Digest of texts, 32 hexadecimal digits; different lists have different ones."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_LENGTH]


def quoted(text: str) -> str:
    """A string literal of Milvus's expressions.

    Raises:
        InvalidArgument: INVALID_TENANT, no literal can hold it.
    """
    if not text.isprintable() or len(text.encode()) > LONGEST_TENANT or not text:
        raise InvalidArgument("INVALID_TENANT", "The tenant's name cannot be stored.")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def of_tenant(tenant: str, *conditions: str) -> str:
    """An expression for rows of one tenant that meet all conditions."""
    return " and ".join([f"tenant == {quoted(tenant)}", *conditions])


def near_conditions(context: str, scopes: Sequence[str], now_us: int) -> list[str]:
    """Of records that a search may find."""
    scope_keys = ", ".join(f'"{key(scope)}"' for scope in scopes)
    return [
        f"kind == {RECORD}",
        f'context_key == "{key(context)}"',
        f"scope_key in [{scope_keys}]",
        f"expire_us > {now_us}",
    ]


def removal_conditions(removal: Removal) -> list[str]:
    """Of records that a removal names."""
    conditions = [f"kind == {RECORD}"]
    if removal.entry_id:
        conditions.append(f'entry_key == "{key(removal.entry_id)}"')
    elif removal.model:
        conditions.append(f'model_key == "{key(removal.model)}"')
    elif removal.tag:
        conditions.append(f'ARRAY_CONTAINS(tag_keys, "{key(removal.tag)}")')
    return conditions


def record_row(tenant: str, item: Stamped, unit: Floats) -> Row:
    """The row of a record."""
    record = item.record
    return {
        "pk": key(tenant, record.entry_id),
        "tenant": tenant,
        "kind": RECORD,
        "entry_key": key(record.entry_id),
        "context_key": key(record.context),
        "scope_key": key(record.scope),
        "model_key": key(record.model),
        "tag_keys": [key(tag) for tag in record.tags[:MOST_TAGS]],
        "stamp_us": item.stamp_us,
        "create_us": record.create_time_us,
        "expire_us": record.expire_time_us,
        "body": {
            "entry_id": record.entry_id,
            "context": record.context,
            "scope": record.scope,
            "answer": record.answer,
            "text": record.text.encode("utf-8", "replace").decode(),
            "model": record.model,
            "tags": list(record.tags),
            "category": record.category,
        },
        "vector": unit.tolist(),
    }


def removal_row(tenant: str, removed: Removed, keep_until_us: int, dimension: int) -> Row:
    """The row by which replicas and later processes learn of a removal.

    That of one entry takes the place of the entry's own row, and one of a model, a tag or
    everything that of the last one of the same: there are never many.
    """
    removal = removed.removal
    name = ("removal", removal.model, removal.tag, str(removal.everything))
    body = {"entry_id": removal.entry_id, "model": removal.model, "tag": removal.tag}
    return _plain_row(
        pk=key(tenant, removal.entry_id) if removal.entry_id else key(tenant, *name),
        tenant=tenant,
        kind=REMOVAL,
        stamp_us=removed.stamp_us,
        expire_us=keep_until_us,
        body={**body, "everything": removal.everything},
        dimension=dimension,
    )


def identity_row(identity: str, dimension: int) -> Row:
    """The row that tells one content of the collection from another."""
    return _plain_row(
        pk=key(IDENTITY_TENANT, "identity"),
        tenant=IDENTITY_TENANT,
        kind=IDENTITY,
        stamp_us=0,
        expire_us=2**62,
        body={"identity": identity},
        dimension=dimension,
    )


def _plain_row(
    *,
    pk: str,
    tenant: str,
    kind: int,
    stamp_us: int,
    expire_us: int,
    body: Mapping[str, object],
    dimension: int,
) -> Row:
    vector = [0.0] * dimension
    vector[_FIRST] = 1.0
    keys = dict.fromkeys(("entry_key", "context_key", "scope_key", "model_key"), "")
    return {
        "pk": pk,
        "tenant": tenant,
        "kind": kind,
        **keys,
        "tag_keys": [],
        "stamp_us": stamp_us,
        "create_us": stamp_us,
        "expire_us": expire_us,
        "body": dict(body),
        "vector": vector,
    }


def record_of(row: Mapping[str, object]) -> Stamped:
    """The record in a row.

    Raises:
        ValueError: it holds none.
    """
    body = _body(row)
    tags = body.get("tags")
    record = VectorRecord(
        entry_id=_text(body, "entry_id"),
        context=_text(body, "context"),
        scope=_text(body, "scope"),
        answer=_text(body, "answer"),
        text=_text(body, "text"),
        vector=np.asarray(row["vector"], np.float32),
        create_time_us=_number(row, "create_us"),
        expire_time_us=_number(row, "expire_us"),
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        model=_text(body, "model"),
        # Rows written before there were quotas of categories have none.
        category=str(body.get("category", "")),
    )
    return Stamped(record, _number(row, "stamp_us"))


def removal_of(row: Mapping[str, object]) -> Removed:
    """The removal in a row.

    Raises:
        ValueError: it holds none.
    """
    body = _body(row)
    removal = Removal(
        entry_id=_text(body, "entry_id"),
        model=_text(body, "model"),
        tag=_text(body, "tag"),
        everything=body.get("everything") is True,
    )
    return Removed(removal, _number(row, "stamp_us"))


def identity_of(row: Mapping[str, object]) -> str:
    """The identity in a row."""
    return _text(_body(row), "identity")


def kind_of(row: Mapping[str, object]) -> int:
    """RECORD, REMOVAL or IDENTITY."""
    return _number(row, "kind")


def _body(row: Mapping[str, object]) -> Mapping[str, object]:
    body = row.get("body")
    if not isinstance(body, dict):
        raise ValueError("a row without a body")
    return body


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _number(values: Mapping[str, object], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int):
        raise ValueError(f"{name} is not a number")
    return value
