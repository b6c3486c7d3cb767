"""One measurement in a process of its own: `python -m benchmarks.http_client.worker`.

Prints a JSON object: requests, seconds, cpu_s (user and system time of this process) and bytes (of
each answer).
"""

import argparse
import asyncio
import json
import time

import uvloop

from benchmarks.http_client.clients import CLIENTS, HttpClient
from benchmarks.target import QUESTION, Target

_WARM_UP_S = 0.3


async def _ask_until(client: HttpClient, body: bytes, end: float, sizes: list[int]) -> None:
    while time.perf_counter() < end:
        sizes.append(await client.ask(body))


async def _load(client: HttpClient, body: bytes, connections: int, seconds: float) -> list[int]:
    """Sizes of the answers to requests made for that long."""
    sizes: list[int] = []
    end = time.perf_counter() + seconds
    await asyncio.gather(*(_ask_until(client, body, end, sizes) for _ in range(connections)))
    return sizes


async def _measure(name: str, target: Target, connections: int, seconds: float) -> dict[str, float]:
    client = CLIENTS[name](target, connections)
    body = target.body(QUESTION)
    await _load(client, body, connections, _WARM_UP_S)
    began, began_cpu = time.perf_counter(), time.process_time()
    sizes = await _load(client, body, connections, seconds)
    took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    await client.close()
    if len(set(sizes)) != 1:
        raise RuntimeError(f"answers differ in size: {sorted(set(sizes))[:5]}")
    return {"requests": len(sizes), "seconds": took, "cpu_s": took_cpu, "bytes": sizes[0]}


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.http_client.worker")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    target = Target(asked.port, "fixed", stream=asked.stream)
    print(json.dumps(uvloop.run(_measure(asked.client, target, asked.connections, asked.seconds))))


if __name__ == "__main__":
    main()
