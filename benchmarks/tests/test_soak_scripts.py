"""The provider of a soak fails as often as is said, in every way that is said."""

import json
from collections import Counter

import pytest

from benchmarks.soak.scripts import (
    JUDGED_BY_MOMENTS,
    OF_CONNECTIONS,
    OF_REQUESTS,
    SHARE_OF_FAULTS,
    closing,
    faulty,
    healthy,
    steady,
)
from tools.simulator.engine import Engine, Request
from tools.simulator.faults import Fault
from tools.simulator.plan import Plan
from tools.simulator.script import as_script

ASKED = 20_000
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()


def test_faults_are_as_many_as_is_said_and_all_alike() -> None:
    engine = Engine(as_script(faulty(Fault.CONNECT_RESET, 7)))
    request = Request("POST", "/v1/chat/completions", "", (), BODY)
    struck: Counter[Fault | None] = Counter()
    for _ in range(ASKED):
        plan = engine.respond(request)
        assert isinstance(plan, Plan)
        struck[plan.fault] += 1
    of_each = {fault: struck[fault] for fault in OF_REQUESTS}
    share = sum(of_each.values()) / ASKED
    assert share == pytest.approx(SHARE_OF_FAULTS, rel=0.1)
    mean = share * ASKED / len(OF_REQUESTS)
    assert min(of_each.values()) > mean / 2 and max(of_each.values()) < mean * 2


def test_every_fault_is_in_a_soak_or_left_out_by_name() -> None:
    left = set(Fault) - {*OF_REQUESTS, *OF_CONNECTIONS, *JUDGED_BY_MOMENTS}
    assert left == {Fault.CONNECT_REFUSED}


@pytest.mark.parametrize("fault", [*OF_CONNECTIONS, Fault.CONNECT_REFUSED])
def test_scripts_are_scripts(fault: Fault) -> None:
    connections = as_script(faulty(fault, 1)).connections
    assert connections is not None and connections.fault is fault
    for script in (healthy(), steady()):
        assert as_script(script).connections is None
        assert as_script(closing(script)).answer == as_script(script).answer
