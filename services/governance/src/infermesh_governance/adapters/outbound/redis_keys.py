"""Issued keys in Redis.

    <tenant>:governance:key:<key id>        hash: one key, without its secret
    <tenant>:governance:request:<uuid>      string: key id that this request made; expires
    -:governance:index                      sorted set: names of the hashes by version of change
    -:governance:version                    integer: grows by one with each change
    -:governance:epoch                      string: made anew when the store starts empty

For what is no tenant's the first part is "-", which is no tenant's name. A change and its version
are written by one script, so a reader that has seen a version has missed nothing up to it. The
scripts touch keys of a tenant and of the mesh together: not for a Redis Cluster.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import structlog
from redis.asyncio import Redis

from infermesh_common.identity.model import Role
from infermesh_common.redis import FAILURES
from infermesh_common.resilience import Dependency
from infermesh_governance.domain.keys import KeyRecord
from infermesh_governance.ports import Head

CHANNEL = "-:governance:changed"
"""Pub/sub channel on which every new version is announced."""

_log = structlog.get_logger(__name__)
_INDEX = "-:governance:index"
_VERSION = "-:governance:version"
_EPOCH = "-:governance:epoch"
# A reply of this many keys is some 150 kB: read in a few milliseconds.
_CHUNK = 500
T = TypeVar("T")

_ANNOUNCE = """
redis.call('SETNX', KEYS[3], ARGV[2])
local version = redis.call('INCR', KEYS[2])
redis.call('ZADD', KEYS[1], version, KEYS[4])
redis.call('PUBLISH', ARGV[1], version)
"""
# KEYS: index, version, epoch, record, request
# ARGV: channel, new epoch, key id, memory of the request in ms, fields and values of the record
_CREATE = f"""
local made = redis.call('GET', KEYS[5])
if made then return made end
redis.call('SET', KEYS[5], ARGV[3], 'PX', ARGV[4])
redis.call('HSET', KEYS[4], unpack(ARGV, 5))
{_ANNOUNCE}
return false
"""
# KEYS: index, version, epoch, record
# ARGV: channel, new epoch, time of revocation
_REVOKE = f"""
if redis.call('EXISTS', KEYS[4]) == 0 then return {{}} end
if redis.call('HSETNX', KEYS[4], 'revoked_us', ARGV[3]) == 1 then
{_ANNOUNCE}
end
return redis.call('HGETALL', KEYS[4])
"""


class RedisKeyStore:
    """`KeyReader` and `KeyStore` on Redis.

    Args:
        redis: client of the server.
        dependency: guards every call.
        timeout_ms: longest time of one operation.
        request_memory_ms: time for which a request id is remembered.
    """

    def __init__(
        self, redis: Redis, dependency: Dependency, *, timeout_ms: int, request_memory_ms: int
    ) -> None:
        self._redis = redis
        self._dependency = dependency
        self._timeout_ms = timeout_ms
        self._request_memory_ms = request_memory_ms
        self._create = redis.register_script(_CREATE)
        self._revoke = redis.register_script(_REVOKE)

    async def head(self) -> Head:
        """See `KeyReader.head`."""
        epoch, version = await self._call(lambda: self._redis.mget([_EPOCH, _VERSION]))
        return Head(_text(epoch or ""), int(version or 0))

    async def changed(self, since: int, until: int) -> list[KeyRecord]:
        """See `KeyReader.changed`."""
        found = await self._call(lambda: self._redis.zrangebyscore(_INDEX, f"({since}", until))
        names = [name.decode() for name in found if isinstance(name, bytes)]
        records = []
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            for name, fields in zip(chunk, await self._hashes(chunk), strict=True):
                if (record := _readable(name, fields)) is not None:
                    records.append(record)
        return records

    async def forget(self, records: Iterable[KeyRecord]) -> None:
        """See `KeyReader.forget`."""
        names = [_name(record) for record in records]

        async def delete() -> None:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.delete(*names)
                pipeline.zrem(_INDEX, *names)
                await pipeline.execute()

        await self._call(delete)

    async def create(self, record: KeyRecord, request_id: str) -> str | None:
        """See `KeyStore.create`."""
        request = f"{record.tenant or '-'}:governance:request:{request_id}"
        keys = [_INDEX, _VERSION, _EPOCH, _name(record), request]
        args: list[str | int] = [CHANNEL, _new_epoch(), record.key_id, self._request_memory_ms]
        for field, value in _fields(record).items():
            args += [field, value]
        made: bytes | None = await self._call(lambda: self._create(keys, args))
        return None if made is None else _text(made)

    async def revoke(self, record: KeyRecord, now_us: int) -> KeyRecord | None:
        """See `KeyStore.revoke`."""
        name = _name(record)
        keys = [_INDEX, _VERSION, _EPOCH, name]
        args: list[str | int] = [CHANNEL, _new_epoch(), now_us]
        flat: list[bytes] = await self._call(lambda: self._revoke(keys, args))
        return _readable(name, dict(zip(flat[::2], flat[1::2], strict=True)))

    async def _hashes(self, names: list[str]) -> list[dict[bytes, bytes]]:
        async def read() -> list[dict[bytes, bytes]]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.hgetall(name)
                hashes: list[dict[bytes, bytes]] = await pipeline.execute()
                return hashes

        return await self._call(read)

    async def _call(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._dependency.call(
            operation, timeout_ms=self._timeout_ms, failures=FAILURES
        )


def _name(record: KeyRecord) -> str:
    return f"{record.tenant or '-'}:governance:key:{record.key_id}"


def _new_epoch() -> str:
    return secrets.token_hex(8)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _fields(record: KeyRecord) -> dict[str, str]:
    fields = {
        "key_id": record.key_id,
        "sha256": record.secret_sha256.hex(),
        "tenant": record.tenant,
        "role": record.role.name,
        "description": record.description,
        "team": record.team,
    }
    times = {
        "created_us": record.created_us,
        "expires_us": record.expires_us,
        "revoked_us": record.revoked_us,
    }
    return fields | {name: str(time) for name, time in times.items() if time is not None}


def _readable(name: str, fields: Mapping[bytes, bytes]) -> KeyRecord | None:
    """The key in a hash; None when it was forgotten, or when nobody can make sense of it: one
    damaged key must not keep the others from being read."""
    if not fields:
        return None
    try:
        return _record({field.decode(): value.decode() for field, value in fields.items()})
    except (KeyError, ValueError) as error:
        _log.error("key_record_unreadable", name=name, error=type(error).__name__)
        return None


def _record(fields: Mapping[str, str]) -> KeyRecord:
    times = {
        name: int(fields[name]) if name in fields else None
        for name in ("created_us", "expires_us", "revoked_us")
    }
    return KeyRecord(
        key_id=fields["key_id"],
        secret_sha256=bytes.fromhex(fields["sha256"]),
        tenant=fields["tenant"],
        role=Role[fields["role"]],
        description=fields["description"],
        created_us=times["created_us"],
        expires_us=times["expires_us"],
        revoked_us=times["revoked_us"],
        # Keys made before there were teams have none.
        team=fields.get("team", ""),
    )
