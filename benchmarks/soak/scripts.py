"""What the providers do while the mesh is soaked: mostly they answer, now and then they fail."""

from tools.simulator.faults import TABLE, Fault, Point

ANSWER = "Paris is the capital of France."
FILLER = "x"
USAGE = {"input": 14, "cached_input": 110, "cache_write_input": 30, "output": 7, "reasoning": 5}
STEADY_USAGE = {"input": 13, "cached_input": 17, "output": 3}
SHARE_OF_FAULTS = 0.08
"""Of the requests that reach the provider that fails."""
SHARE_OF_CONNECTIONS = 0.1
"""Of those to it that are new."""
REFUSES_S, TURN_S = 2.0, 15.0
"""How long it refuses all connections, and how long other faults of them have their turn."""

JUDGED_BY_MOMENTS = (
    Fault.TRAILER_EXTRA_DATA,
    Fault.TRAILER_EXTRA_EVENTS,
    Fault.TRAILER_NO_FINAL_CHUNK,
    Fault.TRAILER_WRONG_LENGTH,
    Fault.TRAILER_NO_FINISH,
)
"""After these an answer may be whole for one side and not for the other, with good reason on both.
The sums of a soak can be told to the last digit only without them; they are tested one by one."""

OF_REQUESTS = tuple(
    fault
    for fault, row in TABLE.items()
    if row.point is not Point.CONNECT and fault not in JUDGED_BY_MOMENTS
)
OF_CONNECTIONS = (
    Fault.CONNECT_RESET,
    Fault.CONNECT_CLOSE,
    Fault.CONNECT_GARBAGE,
    Fault.CONNECT_HANG,
)
_SPECS: dict[Fault, dict[str, object]] = {
    Fault.HEADERS_OVERSIZED: {"size": 100_000},
    Fault.MID_STREAM_OVERSIZED: {"size": 20_000},
    Fault.RATE_LIMITED: {"retry_after_s": 1},
}
# Between events, so that some words are out before the fault shows.
_TOKEN_MS = 3
_NEVER = 10**12

Script = dict[str, object]


def healthy() -> Script:
    """No fault at all."""
    return {"answer": {"text": ANSWER, "usage": USAGE}}


def steady() -> Script:
    """Of the provider that stands in."""
    return {"answer": {"text": ANSWER, "usage": STEADY_USAGE}}


def faulty(of_connections: Fault, seed: int) -> Script:
    """Every fault of a request with the same probability, and one of new connections.

    Args:
        of_connections: which; refused are all of them.
        seed: of chance.
    """
    # Each rule sees what the ones before it have let through.
    share = SHARE_OF_FAULTS / len(OF_REQUESTS)
    rules = [
        {
            "when": {"probability": share / (1 - share * number)},
            "fault": {"name": fault.value, **_SPECS.get(fault, {})},
            "latency": {"token_ms": _TOKEN_MS},
        }
        for number, fault in enumerate(OF_REQUESTS)
    ]
    connections: dict[str, object] = {"fault": of_connections.value}
    if of_connections is not Fault.CONNECT_REFUSED:
        connections["probability"] = SHARE_OF_CONNECTIONS
    return {**healthy(), "seed": seed, "rules": rules, "connections": connections}


def closing(script: Script) -> Script:
    """`script`, at whose beginning connections are closed that nobody uses."""
    return {**script, "connections": {"fault": Fault.CONNECT_CLOSE.value, "nth": _NEVER}}
