"""Faults in the middle and at the end of an answer."""

import json

import pytest
from botocore.eventstream import EventStreamBuffer

from tools.simulator.faults import TABLE, Fault, Point
from tools.simulator.server import Simulator
from tools.simulator.testing import (
    FINISHES,
    HANGS,
    REQUESTS,
    Speaker,
    TERMINATORS,
    USAGES,
    is_whole,
    strikes,
)

everywhere = pytest.mark.parametrize("wire, stream", REQUESTS)


@everywhere
@pytest.mark.parametrize(
    "fault",
    [
        Fault.MID_STREAM_HANG,
        Fault.MID_STREAM_RESET,
        Fault.MID_STREAM_CLOSE,
        Fault.MID_STREAM_BAD_CHUNK,
        Fault.TRAILER_HANG,
        Fault.TRAILER_RESET,
        Fault.TRAILER_NO_FINAL_CHUNK,
    ],
)
async def test_an_answer_ends_before_its_end(
    sim: Simulator, speaker: Speaker, fault: Fault, wire: str, stream: bool
) -> None:
    await sim.load({})
    proper = (await speaker.ask(wire, stream)).body()
    await strikes(sim, fault)
    spoken = await speaker.ask(wire, stream, silent=fault in HANGS)
    body, all_of_it = spoken.part()
    assert not all_of_it
    if fault is Fault.TRAILER_NO_FINAL_CHUNK:
        assert body == proper
    elif TABLE[fault].point is Point.TRAILER and wire in ("gemini", "bedrock") and stream:
        # Their terminator is not the last thing.
        assert TERMINATORS[wire] not in body and USAGES[wire] in body
    else:
        assert body and proper.startswith(body) and body != proper
    if TABLE[fault].point is Point.MID_STREAM:
        assert not is_whole(wire, stream, body)
    assert spoken.data.endswith(b"zz\r\n") is (fault is Fault.MID_STREAM_BAD_CHUNK)


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_is_cut_after_so_many_events(
    sim: Simulator, speaker: Speaker, after: int
) -> None:
    await strikes(sim, Fault.MID_STREAM_CLOSE, after_events=after)
    body, _ = (await speaker.ask("openai", True)).part()
    assert body.count(b"data: ") == after
    body, _ = (await speaker.ask("openai", False)).part()
    assert len(body) == after


@everywhere
async def test_garbage_among_events_is_not_of_the_wire(
    sim: Simulator, speaker: Speaker, wire: str, stream: bool
) -> None:
    await strikes(sim, Fault.MID_STREAM_GARBAGE)
    body = (await speaker.ask(wire, stream)).body()
    with pytest.raises(Exception) as raised:
        if wire == "bedrock" and stream:
            decoder = EventStreamBuffer()
            decoder.add_data(body)
            list(decoder)
        elif stream:
            for line in body.splitlines():
                if line.startswith(b"data: {"):
                    json.loads(line.removeprefix(b"data: "))
        else:
            json.loads(body)
    assert type(raised.value).__name__ in {
        *("JSONDecodeError", "UnicodeDecodeError"),
        *("ChecksumMismatch", "InvalidHeadersLength", "InvalidPayloadLength"),
    }


@everywhere
async def test_text_that_is_not_utf8(
    sim: Simulator, speaker: Speaker, wire: str, stream: bool
) -> None:
    await strikes(sim, Fault.MID_STREAM_INVALID_UTF8)
    body = (await speaker.ask(wire, stream)).body()
    with pytest.raises(UnicodeDecodeError):
        body.replace(b"\x00", b"").decode()
    assert b"\xff\xfe" in body


@everywhere
async def test_an_oversized_event_leaves_the_answer_whole(
    sim: Simulator, speaker: Speaker, wire: str, stream: bool
) -> None:
    await strikes(sim, Fault.MID_STREAM_OVERSIZED, size=300_000)
    body = (await speaker.ask(wire, stream)).body()
    assert len(body) > 300_000
    assert is_whole(wire, stream, body)


@everywhere
async def test_an_error_among_events_ends_them(
    sim: Simulator, speaker: Speaker, wire: str, stream: bool
) -> None:
    await strikes(sim, Fault.MID_STREAM_ERROR_EVENT, message="Too much.", after_events=1)
    spoken = await speaker.ask(wire, stream)
    body = spoken.body()
    assert spoken.status == 200
    assert b"Too much." in body
    assert not is_whole(wire, stream, body)


@everywhere
@pytest.mark.parametrize(
    "fault, missing",
    [
        (Fault.TRAILER_NO_TERMINATOR, TERMINATORS),
        (Fault.TRAILER_NO_FINISH, FINISHES),
        (Fault.TRAILER_NO_USAGE, USAGES),
    ],
)
async def test_a_part_of_the_end_is_left_out(
    sim: Simulator,
    speaker: Speaker,
    fault: Fault,
    missing: dict[str, bytes],
    wire: str,
    stream: bool,
) -> None:
    await strikes(sim, fault)
    body, all_of_it = (await speaker.ask(wire, stream)).part()
    assert all_of_it
    assert not is_whole(wire, stream, body)
    if stream or fault is not Fault.TRAILER_NO_TERMINATOR:
        assert missing[wire] not in body
    assert (USAGES[wire] in body) is (fault is not Fault.TRAILER_NO_USAGE)


@everywhere
async def test_a_length_that_is_wrong(
    sim: Simulator, speaker: Speaker, wire: str, stream: bool
) -> None:
    await strikes(sim, Fault.TRAILER_WRONG_LENGTH)
    spoken = await speaker.ask(wire, stream)
    body, all_of_it = spoken.part()
    assert not all_of_it
    assert int(spoken.headers["content-length"]) == len(body) + 10
    assert is_whole(wire, stream, body)


@everywhere
@pytest.mark.parametrize("fault", [Fault.TRAILER_EXTRA_DATA, Fault.TRAILER_EXTRA_EVENTS])
async def test_more_after_the_end(
    sim: Simulator, speaker: Speaker, fault: Fault, wire: str, stream: bool
) -> None:
    await sim.load({})
    proper = await speaker.ask(wire, stream)
    await strikes(sim, fault)
    spoken = await speaker.ask(wire, stream)
    body = spoken.body()
    assert body.startswith(proper.body())
    if stream and fault is Fault.TRAILER_EXTRA_EVENTS:
        assert b"more" in body.removeprefix(proper.body())
    else:
        assert body == proper.body()
        assert spoken.data.startswith(proper.data) and spoken.data != proper.data


async def test_a_connection_goes_on_after_extra_data(sim: Simulator, speaker: Speaker) -> None:
    await strikes(sim, Fault.TRAILER_EXTRA_DATA)
    spoken = await speaker.ask("openai", False, silent=True)
    assert spoken.end == "silent"
