"""The service as a process of its own: killed in the middle, stopped, misconfigured."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from infermesh_analytics.adapters.outbound.stream import GROUP
from infermesh_analytics.testing import LedgerDatabase, ledger_settings, make_event, publish
from infermesh_common.events import USAGE_STREAM
from infermesh_common.testing.servers import RedisServer, eventually

EVENTS = 1500
KILLS = 3
Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the service with the settings that are in the test's folder."""
    started: list[subprocess.Popen[bytes]] = []

    def new() -> "subprocess.Popen[bytes]":
        environment = os.environ | {"INFERMESH_CONFIG": str(tmp_path / "analytics.yaml")}
        with (tmp_path / "output.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "infermesh_analytics"],
                env=environment,
                stdout=output,
                stderr=output,
            )
        started.append(process)
        return process

    yield new
    for process in started:
        process.kill()
        process.wait(20)


def alive(process: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> Callable[[], bool]:
    """`condition`, and an error when the process has ended instead."""

    def holds() -> bool:
        assert process.poll() is None, "the service ended by itself"
        return condition()

    return holds


@pytest.mark.timeout(400)
async def test_a_killed_service_loses_nothing_and_counts_nothing_twice(
    database: LedgerDatabase, redis_server: RedisServer, tmp_path: Path, start: Start
) -> None:
    events = [make_event(cost=f"0.{n:040d}", tags=("x", f"t{n % 7}")) for n in range(EVENTS)]
    publish(redis_server, *events, *events[::10])
    for round_ in range(KILLS):
        # Now as the same consumer, whose pending entries are its own, now as another one, which
        # has to claim them.
        ledger_settings(
            tmp_path,
            database,
            redis_server,
            name=f"ledger-{round_ % 2}",
            batch_events=10,
            claim_idle_ms=500,
        )
        before = database.count_events()
        process = start()
        await eventually(
            alive(process, lambda: database.count_events() >= before + 150), within_s=60
        )
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        assert database.count_events() < EVENTS, "killed in the middle, not at the end"

    def pending() -> int:
        with redis_server.client() as client:
            return int(client.xpending(USAGE_STREAM, GROUP)["pending"])

    process = start()
    await eventually(alive(process, lambda: database.count_events() == EVENTS), within_s=60)
    await eventually(alive(process, lambda: pending() == 0), within_s=60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert database.execute("SELECT count(*) FROM usage_event_tags") == [(2 * EVENTS,)]
    costs = [Fraction(str(cost)) for (cost,) in database.execute("SELECT cost FROM usage_events")]
    assert sum(costs) == sum(Fraction(e.decision.cost.amount) for e in events)
    assert len(costs) == EVENTS


def test_settings_that_cannot_be_used_end_it_with_one_sentence(
    tmp_path: Path, start: Start
) -> None:
    config = tmp_path / "analytics.yaml"
    config.write_text("analytics: {database_url: 'sqlite://'}")
    process = start()
    assert process.wait(60) == 2
    (line,) = (tmp_path / "output.log").read_text().splitlines()
    assert line.startswith("settings of analytics: ") and "database_url" in line
