"""Connections: one request after another, pauses, clients that leave, and control."""

import asyncio
import time

import aiohttp
import orjson
import pytest

from infermesh_common.testing.servers import eventually
from tools.simulator.server import Simulator, simulator
from tools.simulator.testing import REQUESTS, Speaker

CHAT, BODY = REQUESTS["openai", False]
STREAM = REQUESTS["openai", True][1]


def request(body: bytes, *headers: str) -> bytes:
    lines = [f"POST {CHAT} HTTP/1.1", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_requests_sent_together_are_answered_in_order(
    sim: Simulator, speaker: Speaker
) -> None:
    await sim.load({"rules": [{"when": {"model": "slow"}, "latency": {"headers_ms": 30}}]})
    bodies = [orjson.dumps({**BODY, "model": model}) for model in ("slow", "fast", "last")]
    sent = b"".join(map(request, bodies[:2])) + request(bodies[2], "connection: close")
    spoken = await speaker.say(sent)
    assert spoken.end == "closed"
    places = [spoken.data.index(b'"model":"%b"' % name) for name in (b"slow", b"fast", b"last")]
    assert places == sorted(places)


async def test_a_request_may_come_in_any_pieces(sim: Simulator) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    body = orjson.dumps(BODY)
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, body[at : at + 1]) for at in range(len(body)))
    sent = f"POST {CHAT} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".encode() + chunks
    for byte in sent + b"0\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model": "m"}', b'{"model": 7}'])
@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "bedrock"])
async def test_a_body_that_is_not_of_the_wire_is_a_bad_request(
    sim: Simulator, wire: str, body: bytes
) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.url + REQUESTS[wire, False][0], data=body) as answer:
            assert answer.status == 400
            error = orjson.loads(await answer.read())
    assert (error if wire == "bedrock" else error["error"])["message"]
    assert (sim.counts()["requests"], sim.counts()["answered"]) == (1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": 7},
        {"input": ["a", 7]},
        {"input": "a", "dimensions": []},
        {"input": "a", "dimensions": -1},
        {"input": "a", "dimensions": True},
    ],
)
async def test_embeddings_of_what_is_no_text_are_a_bad_request(
    sim: Simulator, wrong: dict[str, object]
) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.url + "/v1/embeddings", json={"model": "e", **wrong}) as answer:
            assert answer.status == 400


@pytest.mark.parametrize("wrong", [{"messages": ["a"]}, {"messages": "a"}, {"n": 2}, {"n": []}])
async def test_chats_that_are_not_simulated_are_a_bad_request(
    sim: Simulator, wrong: dict[str, object]
) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.url + CHAT, json={**BODY, **wrong}) as answer:
            assert answer.status == 400


async def test_a_stream_of_gemini_is_of_server_sent_events(sim: Simulator) -> None:
    path, body = REQUESTS["gemini", True]
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.url + path.removesuffix("?alt=sse"), json=body) as answer:
            assert answer.status == 400


async def test_what_is_no_http_is_refused(speaker: Speaker) -> None:
    spoken = await speaker.say(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
    assert (spoken.status, spoken.end) == (400, "closed")


@pytest.mark.parametrize("method, path", [("GET", CHAT), ("POST", "/v1/files"), ("PUT", "/")])
async def test_other_paths_are_not_found(sim: Simulator, method: str, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.request(method, sim.url + path, json=BODY) as answer:
            assert answer.status == 404
    assert sim.counts()["requests"] == 0


@pytest.mark.parametrize(
    "latency, least_s",
    [
        ({"headers_ms": 60}, 0.06),
        ({"first_byte_ms": 60}, 0.06),
        ({"token_ms": 20}, 0.02 * 6),
        ({"headers_ms": 20, "first_byte_ms": 20, "token_ms": 5}, 0.07),
    ],
)
async def test_an_answer_takes_as_long_as_the_script_says(
    sim: Simulator, speaker: Speaker, latency: dict[str, float], least_s: float
) -> None:
    await sim.load({"latency": latency})
    started = time.monotonic()
    spoken = await speaker.ask("openai", True)
    assert time.monotonic() - started >= least_s
    assert spoken.body().endswith(b"data: [DONE]\n\n")


async def test_headers_come_before_the_first_byte(sim: Simulator) -> None:
    await sim.load({"latency": {"first_byte_ms": 3_600_000}})
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.url + CHAT, json=STREAM) as answer:
            assert answer.status == 200
            assert sim.counts()["answered"] == 0
    await eventually(lambda: sim.counts()["abandoned"] == 1)


async def test_a_client_that_leaves_has_no_answer(sim: Simulator) -> None:
    await sim.load({"latency": {"token_ms": 3_600_000}})
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.url + CHAT, json=STREAM) as answer:
            await answer.content.readany()
    await eventually(lambda: sim.counts()["connections"]["open"] == 0)
    counts = sim.counts()
    assert (counts["requests"], counts["answered"], counts["abandoned"]) == (1, 0, 1)
    assert counts["tokens"]["output"] == 0
    assert [entry["answered"] for entry in sim.journal()] == [False]


async def test_the_latency_of_the_command_line_gives_way_to_the_scripts() -> None:
    async with simulator({"latency": {"headers_ms": 0}}, latency_ms=3_600_000) as sim:
        assert (await Speaker(sim).ask("openai", False)).status == 200
        await sim.load({})
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(0.1)) as session:
            with pytest.raises(TimeoutError):
                await session.post(sim.url + CHAT, json=BODY)


async def test_headers_of_a_rule_are_added(sim: Simulator, speaker: Speaker) -> None:
    headers = {"x-ratelimit-remaining-requests": "0"}
    for fault in (None, {"name": "rate_limited"}, {"name": "status_html"}):
        await sim.load({"rules": [{"headers": headers, "fault": fault}]})
        found = (await speaker.ask("openai", False)).headers
        assert found["x-ratelimit-remaining-requests"] == "0"


async def test_control_by_http_on_both_ports(sim: Simulator) -> None:
    script = b"rules: [{when: {nth: 2}, fault: {name: status_error, status: 503}}]"
    async with aiohttp.ClientSession() as session:
        for root in (sim.url, sim.control_url):
            async with session.put(f"{root}/_simulator/script", data=script) as answer:
                assert (answer.status, await answer.json()) == (200, {"rules": 1})
            async with session.post(f"{root}/_simulator/reset") as answer:
                assert answer.status == 200
            statuses = []
            for at in range(3):
                headers = {"X-Request-ID": f"r{at}"}
                async with session.post(sim.url + CHAT, json=BODY, headers=headers) as answer:
                    statuses.append(answer.status)
            assert statuses == [200, 503, 200]
            async with session.get(f"{root}/_simulator/counts") as answer:
                counts = await answer.json()
            assert counts == sim.counts()
            assert (counts["requests"], counts["answered"]) == (3, 2)
            assert counts["tokens"]["input"] == counts["models"]["m"]["tokens"]["input"] == 28
            assert counts["faults"]["status_error"]["requests"] == 1
            async with session.get(f"{root}/_simulator/journal") as answer:
                journal = await answer.json()
            assert journal == sim.journal()
            assert [entry["request_id"] for entry in journal] == ["r0", "r1", "r2"]
            assert [entry["fault"] for entry in journal] == [None, "status_error", None]


async def test_a_script_that_is_none_leaves_the_old_one_in_force(sim: Simulator) -> None:
    await sim.load({"rules": [{"fault": {"name": "status_error"}}]})
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{sim.url}/_simulator/script", data=b"rules: 7") as answer:
            assert answer.status == 400
            assert "rules" in (await answer.json())["error"]
        async with session.post(sim.url + CHAT, json=BODY) as answer:
            assert answer.status == 500
        async with session.get(f"{sim.url}/_simulator/nothing") as answer:
            assert answer.status == 404


async def test_connections_that_are_kept_fail_with_the_new_ones(sim: Simulator) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(sim.url + CHAT, json=BODY) as answer:
            assert answer.status == 200
        assert sim.counts()["connections"]["open"] == 1
        await sim.load({"connections": {"fault": "connect_refused"}})
        await eventually(lambda: sim.counts()["connections"]["open"] == 0)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(sim.url + CHAT, json=BODY)
        async with session.get(f"{sim.control_url}/_simulator/counts") as answer:
            assert answer.status == 200
        async with session.put(f"{sim.control_url}/_simulator/script", data=b"") as answer:
            assert answer.status == 200
        async with session.post(sim.url + CHAT, json=BODY) as answer:
            assert answer.status == 200


async def test_the_journal_is_bounded() -> None:
    async with simulator(journal=2) as sim:
        for _ in range(3):
            await Speaker(sim).ask("gemini", False)
        assert len(sim.journal()) == 2
        assert sim.counts()["answered"] == 3


async def test_buckets_are_those_that_a_wire_can_tell(sim: Simulator, speaker: Speaker) -> None:
    usage = {"input": 1, "cached_input": 2, "cache_write_input": 4, "output": 8, "reasoning": 16}
    await sim.load({"answer": {"usage": usage}})
    for wire in ("openai", "anthropic", "gemini", "bedrock"):
        await speaker.ask(wire, True)
    told = {entry["wire"]: entry["usage"] for entry in sim.journal()}
    assert told["openai"] == told["anthropic"] == usage
    assert told["gemini"] == {**usage, "input": 5, "cache_write_input": 0}
    assert told["bedrock"] == {**usage, "output": 24, "reasoning": 0}
    tokens = sim.counts()["tokens"]
    assert tokens == {
        "input": 1 + 1 + 5 + 1,
        "cached_input": 4 * 2,
        "cache_write_input": 3 * 4,
        "output": 3 * 8 + 24,
        "reasoning": 3 * 16,
    }
