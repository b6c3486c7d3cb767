"""Questions through a running mesh: Envoy, router, cache with its semantic tier, ledger.

The model is the simulator: it answers every question with the name of its label, so that an answer
served can be told right or wrong. Nothing else about the mesh is simulated.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx2
import openai

import infermesh
from benchmarks.processes import wait_until
from infermesh_common.testing.resources import Document, resource
from infermesh_common.testing.servers import free_port
from infermesh_local import LocalMesh, MeshInfo, UpOptions
from tools.simulator.server import simulator_in_thread

TENANT, MODEL = "questions", "labels"
_TIMEOUT_S = 60
_WARM_UP = "What is asked first only loads the embedding model"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        text: of the question; no two are the same.
        label: the model's answer.
        at_s: when it is asked, in seconds from the start; 0: when its turn comes.
        tokens: (input, output) that the model's answer is billed for.
    """

    text: str
    label: str
    at_s: float = 0.0
    tokens: tuple[int, int] = (60, 20)


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back.

    Attributes:
        served: by meaning, without the model.
        explored: would have been served, and was compared.
        wrong: the answer is not that of the question's label.
        bound: upper limit of the share of wrong answers that the mesh stated; None: it stated none.
    """

    served: bool
    explored: bool
    wrong: bool
    bound: float | None


@dataclass(frozen=True, slots=True)
class Through:
    """What came of all requests.

    Attributes:
        answers: in the order asked.
        cost_usd: of all of them by the ledger, explored ones in full.
        seconds: that it took.
    """

    answers: list[Answered]
    cost_usd: Decimal
    seconds: float

    def share(self, what: Callable[[Answered], bool]) -> float:
        """Share of all requests of which that is true."""
        return sum(map(what, self.answers)) / len(self.answers)

    def bound_said(self) -> float:
        """The last bound that the mesh stated; 0 when it stated none."""
        stated = [answer.bound for answer in self.answers if answer.bound is not None]
        return stated[-1] if stated else 0.0


def script(asked: Sequence[Asked]) -> dict[str, object]:
    """What the simulator answers. The longest question that is part of a prompt decides: one may
    be part of another."""
    rules = [
        {
            "when": {"prompt": one.text},
            "answer": {
                "text": one.label,
                "usage": {"input": one.tokens[0], "output": one.tokens[1]},
            },
        }
        for one in sorted(asked, key=lambda one: -len(one.text))
    ]
    return {"answer": {"text": "nobody asked that", "usage": {"input": 1, "output": 1}}} | {
        "rules": rules
    }


def documents(url: str, delta: float, price: dict[str, str]) -> list[Document]:
    """The resources: one model, one tenant, and a policy with the semantic tier on."""
    return [
        resource("Provider", "labels", baseUrl=f"{url}/v1"),
        resource(
            "Model",
            MODEL,
            provider="labels",
            upstreamModel=MODEL,
            capabilities=["chat"],
            contextTokens=128_000,
            pricing={"overlay": {"source": "benchmark", **price}},
        ),
        resource("CachePolicy", TENANT, semantic={"enabled": True, "delta": delta}),
        resource("Tenant", TENANT, cachePolicy=TENANT, allowedModels=[MODEL]),
    ]


async def ask_all(url: str, key: str, asked: Sequence[Asked], at_once: int) -> list[Answered]:
    """Asks them in their order, each not before its time.

    Raises:
        openai.OpenAIError: one was not answered.
    """
    answers: dict[int, Answered] = {}
    waiting = iter(enumerate(asked))
    began = time.monotonic()
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=_TIMEOUT_S
    ) as client:

        async def work() -> None:
            for number, one in waiting:
                await asyncio.sleep(max(0.0, began + one.at_s - time.monotonic()))
                answers[number] = await _ask(client, one)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    return [answers[number] for number in range(len(asked))]


async def _ask(client: openai.AsyncOpenAI, one: Asked) -> Answered:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, temperature=0, messages=[{"role": "user", "content": one.text}]
    )
    said = raw.parse().choices[0].message.content
    bound = raw.headers.get("x-infermesh-error-bound")
    return Answered(
        served=raw.headers.get("x-infermesh-tier") == "semantic",
        explored=raw.headers.get("x-infermesh-semantic", "").startswith("explored"),
        wrong=said != one.label,
        bound=None if bound is None else float(bound),
    )


def through_the_mesh(
    folder: Path, asked: Sequence[Asked], delta: float, price: dict[str, str], at_once: int
) -> Through:
    """Starts a mesh, asks everything, stops it.

    Args:
        folder: of its state.
        asked: requests.
        delta: share of all requests that may be answered wrongly.
        price: `input` and `output` of the model, US dollars for a million tokens.
        at_once: requests under way, at most.

    Raises:
        LocalMeshError, NotReady: it does not start.
    """
    with simulator_in_thread(script(asked), journal=0) as simulator:
        with _mesh(folder, documents(simulator.url, delta, price)) as (info, operator, key):
            attempts = itertools.count()
            wait_until(lambda: _loaded(info.url, key, next(attempts)), "the embedding model")
            before = _spent(operator)
            began = time.monotonic()
            answers = asyncio.run(ask_all(info.url, key, asked, at_once))
            seconds = time.monotonic() - began
            wanted = before[0] + len(asked)
            wait_until(lambda: _spent(operator)[0] >= wanted, f"{wanted} requests in the ledger")
            return Through(answers, _spent(operator)[1] - before[1], seconds)


@contextlib.contextmanager
def _mesh(
    folder: Path, declared: Sequence[Document]
) -> Iterator[tuple[MeshInfo, infermesh.Client, str]]:
    local = LocalMesh(folder)
    info = local.up(UpOptions(port=free_port()), lambda line: print(f"  {line}"))
    try:
        (info.resources_dir / "bench.yaml").write_text("\n---\n".join(map(json.dumps, declared)))
        with infermesh.Client(info.url, info.operator_key_file.read_text().strip()) as operator:
            wait_until(
                lambda: MODEL in {known.name for known in operator.models()}
                and TENANT in {known.name for known in operator.tenants()},
                "the resources' coming into force",
            )
            yield info, operator, operator.create_key(tenant=TENANT).secret
    finally:
        local.down(lambda line: None)


def _loaded(url: str, key: str, attempt: int) -> bool:
    """Whether a question finds the one before it; a new key may take a moment to be known."""
    text = _WARM_UP + ", please" * attempt
    body = {"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": text}]}
    headers = {"authorization": f"Bearer {key}"}
    reply = httpx2.post(
        f"{url}/v1/chat/completions", json=body, headers=headers, timeout=_TIMEOUT_S
    )
    return reply.status_code == 200 and "x-infermesh-semantic" in reply.headers


def _spent(operator: infermesh.Client) -> tuple[int, Decimal]:
    """Requests of the tenant in the ledger, and what they cost."""
    rows = [row for row in operator.usage(["tenant"]) if row.tenant == TENANT]
    cost = sum((row.cost or Decimal(0) for row in rows), Decimal(0))
    return sum(row.requests for row in rows), cost
