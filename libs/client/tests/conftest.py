"""A scripted mesh on a free port, clients of both kinds, and the command line against it."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from google.protobuf import timestamp_pb2
from typer.testing import CliRunner, Result

from infermesh import AsyncClient, Client
from infermesh.analytics.v1 import events_pb2
from infermesh.cli.app import build_app
from infermesh.common.v1 import decision_pb2, money_pb2, semantic_pb2, usage_pb2
from infermesh.router.v1 import inference_pb2
from infermesh.testing import ScriptedMesh

API_KEY = "im_0123_secret"


@pytest.fixture
def mesh() -> Iterator[ScriptedMesh]:
    """Answers as the test says."""
    with ScriptedMesh() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
async def client(
    request: pytest.FixtureRequest, mesh: ScriptedMesh
) -> AsyncIterator[Client | AsyncClient]:
    """A client of `mesh`: each test runs with the blocking one and with asyncio's."""
    if request.param == "sync":
        with Client(mesh.address, API_KEY, timeout_s=20) as blocking:
            yield blocking
    else:
        async with AsyncClient(mesh.address, API_KEY, timeout_s=20) as concurrent:
            yield concurrent


@pytest.fixture
def dollars() -> Callable[[str], money_pb2.Money]:
    """Makes an amount."""
    return lambda amount: money_pb2.Money(amount=amount, currency_code="USD")


@pytest.fixture
def decision(dollars: Callable[[str], money_pb2.Money]) -> decision_pb2.Decision:
    """Of an answer a model gave, every field set."""
    made = decision_pb2.Decision(
        decision_id="d-1",
        tier=decision_pb2.CACHE_TIER_NONE,
        cache_status=decision_pb2.CACHE_STATUS_MISS,
        model="small",
        provider="acme-ai",
        reason="Cheapest model that meets the floor [0.7].",
        candidates=[
            decision_pb2.Candidate(
                model="small", eligible=True, reason="ok", estimated_cost=dollars("0.00002")
            ),
            decision_pb2.Candidate(model="odd", eligible=False, reason="no tools"),
        ],
        price_version="2026-01",
        cost=dollars("0.0000125"),
        baseline_cost=dollars("0.0010000"),
        saved=dollars("0.0009875"),
        baseline_model="large",
        usage=usage_pb2.TokenUsage(input_tokens=10, output_tokens=4, reasoning_tokens=2),
        baseline_usage=usage_pb2.TokenUsage(input_tokens=10, output_tokens=6),
        stages=[
            decision_pb2.StageTiming(stage="cache.lookup", duration_us=1500),
            decision_pb2.StageTiming(stage="model", duration_us=30000),
        ],
        configuration_revision="r7",
        fingerprint="ab" * 32,
        store_outcome="stored",
        fallbacks=["tiny: timed out"],
        semantic=semantic_pb2.SemanticMatch(
            verdict=semantic_pb2.SEMANTIC_VERDICT_REFUSED,
            reason="YOUNG",
            similarity=0.9,
            confidence=0.95,
            delta=0.01,
            entry="cd" * 32,
            category="general",
        ),
    )
    made.entry_age.FromMilliseconds(1500)
    return made


@pytest.fixture
def answer(decision: decision_pb2.Decision) -> inference_pb2.InferResponse:
    """A whole answer."""
    return inference_pb2.InferResponse(
        request_id="r-1",
        model="small-2026",
        message=inference_pb2.Message(role="assistant", content="Hello there"),
        finish_reason="stop",
        usage=usage_pb2.TokenUsage(input_tokens=10, output_tokens=6),
        decision=decision,
    )


@pytest.fixture
def event(decision: decision_pb2.Decision) -> events_pb2.UsageEvent:
    """An inference of the ledger."""
    return events_pb2.UsageEvent(
        event_id="d-1",
        request_time=timestamp_pb2.Timestamp(seconds=1_767_323_045),
        tenant="demo",
        key_id="k1",
        requested_model="auto",
        protocol="openai.chat",
        task="general",
        tags=["team=search", "x"],
        streamed=True,
        outcome=events_pb2.OUTCOME_SUCCEEDED,
        duration_us=31600,
        first_byte_us=9400,
        decision=decision,
        request_id="r-1",
    )


@pytest.fixture
def infermesh(mesh: ScriptedMesh) -> Callable[..., Result]:
    """Runs the command against `mesh`, as if typed by someone without a terminal."""

    def run(*arguments: str, input: str | None = None, **environment: str | None) -> Result:
        clean = dict.fromkeys(
            ("INFERMESH_API_KEY_FILE", "INFERMESH_ROOT_CERTIFICATES", "INFERMESH_STATE")
        )
        connection = {"INFERMESH_ADDRESS": mesh.address, "INFERMESH_API_KEY": API_KEY}
        # No local mesh: what this machine runs is not the test's business.
        app = build_app(load_local=lambda state_dir: None)
        return CliRunner().invoke(
            app,
            list(arguments),
            input=input,
            env={**clean, **connection, **environment},
            prog_name="infermesh",
        )

    return run
