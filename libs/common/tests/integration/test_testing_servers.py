"""The servers that tests of other packages rely on do what they are told."""

import aiohttp
import orjson
import psycopg
import pytest
from redis.exceptions import RedisError

from infermesh_common.testing.postgres import PostgresServer
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.upstream import (
    ScriptedUpstream,
    break_off,
    completion,
    failing,
    hang,
    sse,
)


async def post(upstream: ScriptedUpstream, path: str, **body: object) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.post(f"{upstream.base_url}/{path}", json=body) as response:
            return response.status, await response.read()


async def test_an_upstream_answers_as_openai_does_and_records_what_it_is_asked() -> None:
    async with ScriptedUpstream() as upstream:
        status, text = await post(upstream, "chat/completions", model="m")
        assert (status, orjson.loads(text)) == (200, completion())
        _, text = await post(upstream, "chat/completions", model="m", stream=True)
        assert text.startswith(b"data: {") and text.endswith(sse({})[:6] + b"[DONE]\n\n")
        _, text = await post(upstream, "embeddings", model="e")
        assert orjson.loads(text)["data"][0]["embedding"] == [0.25, -0.5]
        assert [request["model"] for request in upstream.requests] == ["m", "m", "e"]
        assert upstream.headers[0]["content-type"] == "application/json"


async def test_an_upstream_fails_as_it_is_told() -> None:
    async with ScriptedUpstream() as upstream:
        upstream.handler = failing(429, {"code": "slow_down"}, retry_after="7")
        assert await post(upstream, "chat/completions") == (
            429,
            b'{"error": {"code": "slow_down"}}',
        )
        upstream.handler = break_off
        with pytest.raises(aiohttp.ClientError):
            await post(upstream, "chat/completions")
        upstream.handler = hang
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
            with pytest.raises(TimeoutError):
                await session.post(f"{upstream.base_url}/chat/completions", json={})
        await eventually(upstream.disconnected.is_set)


def test_a_postgres_keeps_its_data_through_a_stop_and_a_crash() -> None:
    with PostgresServer(durable=True) as server:
        database = server.create_database().rpartition("/")[2]
        with server.connect(database) as connection:
            connection.execute("CREATE TABLE t (n integer)")
        for number, end in enumerate((server.stop, server.kill), start=1):
            with server.connect(database) as connection:
                connection.execute("INSERT INTO t VALUES (%s)", (number,))
            end()
            with pytest.raises(psycopg.OperationalError):
                server.connect(database)
            server.start()
        with server.connect(database) as connection:
            assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,)]
        folder = server.folder
        assert server.password_file.is_relative_to(folder) and server.url.endswith("/postgres")
    assert not folder.exists()


def test_a_redis_keeps_its_data_through_a_stop(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("a", "1")
    own_redis.stop()
    with own_redis.client() as client, pytest.raises(RedisError):
        client.ping()
    own_redis.start()
    with own_redis.client() as client:
        assert client.get("a") == b"1"


async def test_waiting_for_what_never_holds_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="the moon"):
        await eventually(lambda: False, within_s=0, what="the moon")
