"""Each fault is, byte for byte, what the table says, on every wire."""

import json
from http.client import HTTPException

import pytest

from infermesh_common.testing.servers import eventually
from tools.simulator.faults import TABLE, Fault, Point
from tools.simulator.server import Simulator
from tools.simulator.testing import HANGS, REQUESTS, RESETS, Speaker, is_whole, strikes

everywhere = pytest.mark.parametrize("wire, stream", REQUESTS)


def of(*points: Point) -> list[Fault]:
    return [fault for fault, row in TABLE.items() if row.point in points]


@everywhere
@pytest.mark.parametrize("fault", of(*(set(Point) - {Point.CONNECT})))
async def test_the_end_and_the_count_are_as_the_table_says(
    sim: Simulator, speaker: Speaker, fault: Fault, wire: str, stream: bool
) -> None:
    await strikes(sim, fault)
    spoken = await speaker.ask(wire, stream, silent=fault in HANGS)
    expected = "silent" if fault in HANGS else "reset" if fault in RESETS else "closed"
    assert spoken.end == expected
    await eventually(lambda: len(sim.journal()) == 1)
    counts = sim.counts()
    whole = int(TABLE[fault].answered)
    assert (counts["requests"], counts["answered"], counts["abandoned"]) == (1, whole, 0)
    assert counts["faults"][fault]["requests"] == 1
    assert counts["faults"][fault]["answered"] == whole
    assert counts["faults"][fault]["tokens"]["input"] == counts["tokens"]["input"] == 14 * whole
    assert sim.journal()[0]["fault"] == fault
    await eventually(lambda: sim.counts()["connections"]["open"] == 0)


@everywhere
async def test_without_a_fault_an_answer_is_whole(
    sim: Simulator, speaker: Speaker, wire: str, stream: bool
) -> None:
    await sim.load({})
    spoken = await speaker.ask(wire, stream)
    assert (spoken.status, spoken.end) == (200, "closed")
    assert is_whole(wire, stream, spoken.body())
    assert sim.counts()["answered"] == 1


@everywhere
@pytest.mark.parametrize(
    "fault, said",
    [
        (Fault.HEADERS_HANG, b""),
        (Fault.HEADERS_RESET, b""),
        (Fault.HEADERS_CLOSE, b""),
        (Fault.HEADERS_TRUNCATED, b"HTTP/1.1 20"),
        (Fault.HEADERS_GARBAGE, b"HTTQ/9.9 whatever\r\n\r\n"),
    ],
)
async def test_no_headers(
    sim: Simulator, speaker: Speaker, fault: Fault, said: bytes, wire: str, stream: bool
) -> None:
    await strikes(sim, fault)
    spoken = await speaker.ask(wire, stream, silent=fault in HANGS)
    assert spoken.data == said
    assert sim.journal()[0]["status"] is None


@everywhere
async def test_oversized_headers_are_more_than_a_client_takes(
    sim: Simulator, speaker: Speaker, wire: str, stream: bool
) -> None:
    await strikes(sim, Fault.HEADERS_OVERSIZED, size=70_000)
    spoken = await speaker.ask(wire, stream)
    assert spoken.data.index(b"\r\n\r\n") > 70_000
    with pytest.raises(HTTPException, match="header"):
        spoken.body()


@everywhere
@pytest.mark.parametrize(
    "fault, status",
    [(Fault.STATUS_ERROR, 500), (Fault.RATE_LIMITED, 429), (Fault.STATUS_HTML, 502)],
)
async def test_errors_before_an_answer(
    sim: Simulator, speaker: Speaker, fault: Fault, status: int, wire: str, stream: bool
) -> None:
    await strikes(sim, fault)
    spoken = await speaker.ask(wire, stream)
    assert spoken.status == status
    if fault is Fault.STATUS_HTML:
        assert spoken.headers["content-type"] == "text/html"
        assert spoken.body().startswith(b"<html>")
    else:
        error = json.loads(spoken.body())
        assert (error if wire == "bedrock" else error["error"])["message"]
    await strikes(sim, fault, status=418)
    assert (await speaker.ask(wire, stream)).status == 418


@everywhere
@pytest.mark.parametrize("fault", of(Point.FIRST_BYTE))
async def test_headers_of_an_answer_but_no_answer(
    sim: Simulator, speaker: Speaker, fault: Fault, wire: str, stream: bool
) -> None:
    await sim.load({})
    proper = await speaker.ask(wire, stream)
    await strikes(sim, fault)
    spoken = await speaker.ask(wire, stream, silent=fault in HANGS)
    assert spoken.status == 200
    assert spoken.headers["content-type"] == proper.headers["content-type"]
    body, all_of_it = spoken.part()
    assert all_of_it is (fault in (Fault.FIRST_BYTE_GARBAGE, Fault.FIRST_BYTE_EMPTY))
    assert (body != b"") is (fault is Fault.FIRST_BYTE_GARBAGE)


@pytest.mark.parametrize(
    "fault, said, end",
    [
        (Fault.CONNECT_RESET, b"", "reset"),
        (Fault.CONNECT_CLOSE, b"", "closed"),
        (Fault.CONNECT_HANG, b"", "silent"),
        (Fault.CONNECT_GARBAGE, b"220 smtp.example.test ESMTP ready\r\n", "silent"),
    ],
)
async def test_connections_fail(
    sim: Simulator, speaker: Speaker, fault: Fault, said: bytes, end: str
) -> None:
    await sim.load({"connections": {"fault": fault, "first": 1}})
    spoken = await speaker.say(
        b"GET /v1/models HTTP/1.1\r\n\r\n", lambda: sim.counts()["faults"][fault]["requests"] == 1
    )
    # Closed with a request unread is a reset, too.
    assert spoken.data == said
    assert spoken.end == end or (spoken.end, end) == ("reset", "closed")
    assert (await speaker.ask("openai", False)).status == 200
    assert sim.counts()["faults"][fault]["requests"] == 1


async def test_refused_connections_are_accepted_again_after_another_script(
    sim: Simulator, speaker: Speaker
) -> None:
    port = sim.port
    await sim.load({"connections": {"fault": "connect_refused"}})
    with pytest.raises(ConnectionRefusedError):
        await speaker.ask("openai", False)
    await sim.load({})
    assert (await speaker.ask("openai", False)).status == 200
    assert sim.port == port
