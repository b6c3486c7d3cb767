"""The semantic cache of a whole mesh: a support desk learns, then answers by meaning, through Envoy
and OpenAI's own SDK. Its model is a simulator."""

from __future__ import annotations

import json
import os
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest
from typer.testing import CliRunner

import infermesh
from benchmarks.processes import wait_until
from examples.support_desk import Question, documents, questions, script
from infermesh.cli.app import build_app
from infermesh_common.testing.servers import free_port
from infermesh_local import LocalMesh, UpOptions
from infermesh_local.layout import StateLayout
from infermesh_local.settings import load_local_settings
from tools.simulator.server import SimulatorInThread, simulator_in_thread

pytestmark = pytest.mark.timeout(420)
TENANT, MODEL, SYSTEM = "support", "support-desk", "You work for a shop. Answer briefly."
# How fast this machine is today is not what this is about.
_PATIENT = {
    "INFERMESH_ROUTER__CACHE__LOOKUP_TIMEOUT_MS": "10000",
    "INFERMESH_ROUTER__CACHE__STORE_TIMEOUT_MS": "10000",
    "INFERMESH_CACHE__REDIS__OPERATION_TIMEOUT_MS": "5000",
    "INFERMESH_CACHE__SEMANTIC__LOOKUP_TIMEOUT_MS": "8000",
    "INFERMESH_CACHE__SEMANTIC__EMBEDDING__BATCH__TIMEOUT_MS": "8000",
    "INFERMESH_CACHE__VECTORS__PACE__TIMEOUT_MS": "5000",
}
_MOST = 700


@dataclass
class Reply:
    """What a client gets."""

    question: Question
    text: str
    headers: dict[str, str]

    @property
    def tier(self) -> str:
        return self.headers["x-infermesh-tier"]

    @property
    def decision_id(self) -> str:
        return self.headers["x-infermesh-decision-id"]


@dataclass
class Desk:
    """A support desk behind the mesh."""

    url: str
    key: str
    state: Path
    simulator: SimulatorInThread
    operator: infermesh.Client
    asked: list[Reply] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)
        self.questions = questions(seed=11)

    def ask(self, question: Question, *, system: str = SYSTEM) -> Reply:
        raw = self.openai.chat.completions.with_raw_response.create(
            model=MODEL,
            temperature=0,
            messages=[
                {"role": "system", "content": system},
                {"role": "user", "content": question.text},
            ],
        )
        text = raw.parse().choices[0].message.content or ""
        reply = Reply(question, text, dict(raw.headers))
        self.asked.append(reply)
        return reply

    def ask_until_served(self) -> Reply:
        for _ in range(_MOST):
            reply = self.ask(next(self.questions))
            if reply.tier == "semantic":
                return reply
        counts = Counter(reply.headers.get("x-infermesh-semantic", "-") for reply in self.asked)
        raise AssertionError(f"nothing was served: {counts}")

    def model_calls(self) -> int:
        return int(self.simulator.counts()["requests"])

    def command(self, *arguments: str) -> str:
        """Output of the command `infermesh`, with the key of the desk."""
        environment = {"INFERMESH_ADDRESS": self.url, "INFERMESH_API_KEY": self.key}
        app = build_app(load_local=lambda state_dir: None)
        result = CliRunner().invoke(app, list(arguments), env=environment)
        assert result.exit_code == 0, result.output
        return result.output

    def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """What the REST surface answers."""
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, object] = json.loads(response.read())
            return answer

    def metric(self, start: str) -> float:
        ports = json.loads(StateLayout.at(self.state).ports_file.read_text())
        url = f"http://127.0.0.1:{ports['cache-metrics']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk that has learnt enough to serve."""
    folder = tmp_path_factory.mktemp("desk")
    settings = load_local_settings({**os.environ, **_PATIENT})
    local = LocalMesh(folder, settings=settings)
    with simulator_in_thread(script()) as simulator:
        info = local.up(UpOptions(port=free_port()), print)
        try:
            semantic: dict[str, object] = {"enabled": True, "delta": 0.05}
            written = map(json.dumps, documents(simulator.url, semantic))
            (info.resources_dir / "support.yaml").write_text("\n---\n".join(written))
            operator_key = info.operator_key_file.read_text().strip()
            with infermesh.Client(info.url, operator_key) as operator:
                wait_until(
                    lambda: TENANT in {tenant.name for tenant in operator.tenants()}
                    and MODEL in {known.name for known in operator.models()},
                    "the resources' coming into force",
                )
                key = operator.create_key(tenant=TENANT).secret
                made = Desk(info.url, key, folder, simulator, operator)
                wait_until(lambda: _answers(made), "the first use of a new key")
                wait_until(lambda: _loaded(made), "the embedding model's being loaded")
                made.ask_until_served()
                yield made
        finally:
            local.down(print)


def _answers(desk: Desk) -> bool:
    try:
        return bool(desk.ask(next(desk.questions)).text)
    except openai.OpenAIError:
        return False


def _loaded(desk: Desk) -> bool:
    desk.ask(next(desk.questions))
    loading = 'infermesh_semantic_lookups_total{reason="nothing_near"'
    young = 'infermesh_semantic_lookups_total{reason="young"'
    return desk.metric(loading) + desk.metric(young) > 0


def test_an_answer_by_meaning_costs_no_call_and_says_how_sure_it_is(desk: Desk) -> None:
    before = desk.model_calls()
    calls = len(desk.asked)
    reply = desk.ask_until_served()
    assert desk.model_calls() - before == len(desk.asked) - calls - 1
    assert reply.text == reply.question.answer
    assert reply.headers["x-infermesh-cache"] == "hit"
    assert reply.headers["x-infermesh-cost-usd"] == "0"
    assert float(reply.headers["x-infermesh-saved-usd"]) > 0
    assert float(reply.headers["x-infermesh-similarity"]) > 0.5
    assert float(reply.headers["x-infermesh-probability"]) > 0.9
    assert 0 <= float(reply.headers["x-infermesh-error-bound"]) <= 0.05


def test_errors_stay_below_what_the_policy_permits(desk: Desk) -> None:
    for _ in range(60):
        desk.ask(next(desk.questions))
    wrong = sum(reply.text != reply.question.answer for reply in desk.asked)
    assert wrong <= 0.05 * len(desk.asked)
    assert sum(reply.tier == "semantic" for reply in desk.asked) > 10
    assert desk.metric("infermesh_semantic_error_bound") <= 0.05


def test_a_stream_is_answered_by_meaning_too(desk: Desk) -> None:
    for _ in range(200):
        question = next(desk.questions)
        stream = desk.openai.chat.completions.with_raw_response.create(
            model=MODEL,
            temperature=0,
            stream=True,
            messages=[
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": question.text},
            ],
        )
        chunks = list(stream.parse())
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == question.answer
        if stream.headers["x-infermesh-tier"] == "semantic":
            return
    raise AssertionError("no stream was answered by meaning")


def test_another_system_prompt_is_answered_by_the_model(desk: Desk) -> None:
    reply = desk.ask_until_served()
    other = desk.ask(Question(reply.question.topic, reply.question.text), system="Be rude.")
    assert other.tier == "none"


def test_a_lookup_is_explained(desk: Desk) -> None:
    reply = desk.ask_until_served()
    options = ("--model", MODEL, "--system", SYSTEM, "--parameter", "temperature=0")
    told = json.loads(desk.command("cache", "explain", reply.question.text, *options, "--json"))
    assert told["match"]["delta"] == 0.05 and told["candidates"]
    assert told["features"]["similarity"] == pytest.approx(told["match"]["similarity"])
    assert told["evidence"]["served"] > 0 and "sure to be right" in told["explanation"]
    shown = desk.command("cache", "explain", "Do you sell submarines?", *options)
    assert "refused" in shown or "none" in shown


def test_the_ledger_has_the_tier_and_the_saving(desk: Desk) -> None:
    reply = desk.ask_until_served()

    def found() -> bool:
        try:
            desk.operator.event(reply.decision_id)
        except infermesh.NotFoundError:
            return False
        return True

    wait_until(found, "the event in the ledger")
    event = desk.operator.event(reply.decision_id)
    assert event.decision.tier is infermesh.Tier.SEMANTIC
    assert event.decision.saved is not None and event.decision.saved > 0
    match = event.decision.semantic
    assert match is not None and match.reason == "WITHIN_BOUND" and match.delta == 0.05
    assert "same meaning" in event.decision.reason


def test_feedback_counts_against_the_bound_once(desk: Desk) -> None:
    reply = desk.ask_until_served()
    assert "wrong" in desk.command("feedback", reply.decision_id, "--wrong")
    with infermesh.Client(desk.url, desk.key) as client:
        with pytest.raises(infermesh.NotFoundError):
            client.send_feedback(reply.decision_id, right=False)
        told = client.explain_lookup(
            [{"role": "user", "content": "anything"}], models=[MODEL], task="general"
        )
    assert told.evidence.known_wrong == 1


def test_feedback_comes_over_rest_too(desk: Desk) -> None:
    reply = desk.ask_until_served()
    body: dict[str, object] = {
        "decisionId": reply.decision_id,
        "verdict": "FEEDBACK_VERDICT_RIGHT",
    }
    assert not desk.post("/v1/cache:feedback", body).get("retired")
