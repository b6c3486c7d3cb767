"""Explaining lookups and giving feedback, with both clients and on the command line."""

import inspect
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import Result

from infermesh import AsyncClient, Client, InvalidRequestError, Message, SemanticVerdict
from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import page_pb2, semantic_pb2
from infermesh.router.v1 import operations_pb2
from infermesh.testing import ScriptedMesh

Command = Callable[..., Result]
AnyClient = Client | AsyncClient
T = TypeVar("T")


async def now(value: T | Awaitable[T]) -> T:
    """The result of a method of either client."""
    return await value if inspect.isawaitable(value) else value


MATCH = semantic_pb2.SemanticMatch(
    verdict=semantic_pb2.SEMANTIC_VERDICT_REFUSED,
    reason="TOO_LIKELY_WRONG",
    similarity=0.875,
    probability=0.75,
    error_bound=0.004,
    confidence=0.95,
    delta=0.01,
    entry="ab" * 32,
    category="general",
)


@pytest.fixture
def explained(mesh: ScriptedMesh) -> cache_pb2.ExplainLookupResponse:
    """What the mesh explains."""
    response = cache_pb2.ExplainLookupResponse(
        match=MATCH,
        explanation="Not sure enough.",
        text="who wrote it",
        context="cd" * 32,
        candidates=[
            cache_pb2.SemanticCandidate(
                fingerprint="ab" * 32,
                text="who wrote this \x1b[2J" + "x" * 80,
                similarity=0.875,
                answer="ef" * 16,
                scope="tenant",
                model="small",
            )
        ],
        features={"similarity": 0.875, "near_vote": 1.5},
        price=0.02,
        evidence=cache_pb2.SemanticEvidence(
            requests=900, served=30, compared=200, known_wrong=1, error_bound=0.004
        ),
        space="words@0",
    )
    mesh.script("ExplainLookup", response)
    models = [operations_pb2.RegisteredModel(name=name) for name in ("small", "large")]
    mesh.script(
        "ListRegisteredModels",
        operations_pb2.ListRegisteredModelsResponse(models=models, page=page_pb2.PageResponse()),
    )
    return response


async def test_a_lookup_is_explained(
    mesh: ScriptedMesh, client: AnyClient, explained: cache_pb2.ExplainLookupResponse
) -> None:
    told = await now(
        client.explain_lookup(
            [Message("system", "Be brief."), {"role": "user", "content": "Who wrote it?"}],
            models=["small"],
            task="quiz",
            parameters={"temperature": 0},
        )
    )
    query = mesh.received("ExplainLookup")[0].request.query  # type: ignore[attr-defined]
    assert json.loads(query.body) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who wrote it?"},
        ],
        "temperature": 0,
    }
    assert (list(query.models), query.task, query.protocol) == (["small"], "quiz", "openai.chat")
    assert told.match.verdict is SemanticVerdict.REFUSED and told.match.probability == 0.75
    assert told.candidates[0].similarity == 0.875 and told.evidence.requests == 900
    assert dict(told.features) == {"similarity": 0.875, "near_vote": 1.5}


async def test_what_cannot_be_asked_is_refused_before_it_is_sent(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    with pytest.raises(InvalidRequestError) as error:
        await now(client.explain_lookup([], models=["small"]))
    assert error.value.reason == "INVALID_MESSAGES"
    with pytest.raises(InvalidRequestError) as error:
        nan = {"temperature": float("nan")}
        await now(client.explain_lookup([Message("user", "x")], models=[], parameters=nan))
    assert error.value.reason == "INVALID_PARAMETERS"
    with pytest.raises(InvalidRequestError) as error:
        await now(client.send_feedback("", right=True))
    assert error.value.reason == "INVALID_DECISION_ID"
    assert not mesh.calls


@pytest.mark.parametrize("right", [True, False])
async def test_feedback_is_sent(mesh: ScriptedMesh, client: AnyClient, right: bool) -> None:
    mesh.script("SendFeedback", cache_pb2.SendFeedbackResponse(retired=not right))
    assert await now(client.send_feedback("d-1", right=right)) is not right
    verdict = cache_pb2.FEEDBACK_VERDICT_RIGHT if right else cache_pb2.FEEDBACK_VERDICT_WRONG
    sent = mesh.received("SendFeedback")[0].request
    assert sent == cache_pb2.SendFeedbackRequest(decision_id="d-1", verdict=verdict)


def test_the_command_explains_a_question(
    infermesh: Command, mesh: ScriptedMesh, explained: cache_pb2.ExplainLookupResponse
) -> None:
    shown = infermesh("cache", "explain", "Who wrote it?", "--system", "Be brief.")
    assert shown.exit_code == 0, shown.output
    for part in (
        "Not sure enough.",
        "TOO_LIKELY_WRONG",
        "75.00%",
        "98.00% and surer",
        "0.400% of requests at 95% confidence; 1.00% permitted",
        "900 requests, 30 served, 200 compared, 1 known wrong",
        "near vote",
    ):
        assert part in shown.stdout, part
    assert "\x1b[2J" not in shown.stdout
    query = mesh.received("ExplainLookup")[0].request.query  # type: ignore[attr-defined]
    assert list(query.models) == ["small", "large"]
    as_json = infermesh("cache", "explain", "Who wrote it?", "--model", "small", "--json")
    assert json.loads(as_json.stdout)["match"]["reason"] == "TOO_LIKELY_WRONG"


def test_the_command_explains_a_request_in_a_file(
    infermesh: Command,
    mesh: ScriptedMesh,
    explained: cache_pb2.ExplainLookupResponse,
    tmp_path: Path,
) -> None:
    file = tmp_path / "request.json"
    body = {"model": "small", "messages": [{"role": "user", "content": "Hm?"}], "stream": True}
    file.write_text(json.dumps(body))
    assert infermesh("cache", "explain", "--request", str(file)).exit_code == 0
    query = mesh.received("ExplainLookup")[0].request.query  # type: ignore[attr-defined]
    assert json.loads(query.body) == {"messages": body["messages"]}
    assert list(query.models) == ["small"]
    file.write_text("[]")
    assert infermesh("cache", "explain", "--request", str(file)).exit_code == 2
    assert infermesh("cache", "explain").exit_code == 2


def test_the_command_gives_feedback(infermesh: Command, mesh: ScriptedMesh) -> None:
    mesh.script("SendFeedback", cache_pb2.SendFeedbackResponse(retired=True))
    assert "not propose that answer any more" in infermesh("feedback", "d-1", "--wrong").stdout
    assert infermesh("feedback", "d-1", "--right").stdout == "Noted: it was right.\n"
    mesh.script("SendFeedback", cache_pb2.SendFeedbackResponse())
    assert infermesh("feedback", "d-1", "--wrong").stdout == "Noted: it was wrong.\n"
    assert infermesh("feedback", "d-1").exit_code == 2


def test_an_explained_decision_tells_of_the_semantic_tier(
    infermesh: Command, mesh: ScriptedMesh, event: events_pb2.UsageEvent
) -> None:
    event.decision.semantic.CopyFrom(MATCH)
    mesh.script("GetEvent", ledger_pb2.GetEventResponse(event=event))
    shown = infermesh("explain", "d-1").stdout
    assert "refused: TOO_LIKELY_WRONG, similarity 0.875, 75.00% sure" in shown
    event.decision.semantic.Clear()
    event.decision.semantic.verdict = semantic_pb2.SEMANTIC_VERDICT_NONE
    event.decision.semantic.reason = "NOTHING_NEAR"
    mesh.script("GetEvent", ledger_pb2.GetEventResponse(event=event))
    lines = [line.rstrip() for line in infermesh("explain", "d-1").stdout.splitlines()]
    assert any(line.endswith("none: NOTHING_NEAR") for line in lines)
