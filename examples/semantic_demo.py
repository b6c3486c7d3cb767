"""The part of the demo that shows the semantic cache: a support desk that learns.

Its model is scripted (`tools.simulator`), so that it is known which answers are right; embedding,
index and evidence are the product's own. Nothing is recorded beforehand: it begins young and
refuses, and serves once its own evidence allows that.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import openai
from rich.console import Console

import infermesh
from examples.support_desk import Question, documents, questions, script
from tools.simulator.server import simulator_in_thread

TENANT, MODEL = "support", "support-desk"
SYSTEM = "You work for the support desk of a shop. Answer in one sentence."
SEMANTIC: dict[str, object] = {"enabled": True, "delta": 0.05, "confidence": 0.95}
_MOST = 500
_MORE = 150
_SHOWN = 3


@dataclass
class _Desk:
    """Who asks, and what came of it."""

    client: openai.OpenAI
    console: Console
    asked: int = 0
    served: int = 0
    wrong: int = 0
    refusals: dict[str, int] = field(default_factory=dict)

    def ask(self, question: Question) -> tuple[str, dict[str, str], float]:
        """The answer, the response headers and the seconds it took."""
        began = time.perf_counter()
        raw = self.client.chat.completions.with_raw_response.create(
            model=MODEL,
            temperature=0,
            messages=[
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": question.text},
            ],
        )
        answer = raw.parse().choices[0].message.content or ""
        headers = dict(raw.headers)
        self.asked += 1
        self.wrong += answer != question.answer
        self.served += headers["x-infermesh-tier"] == "semantic"
        reason = headers.get("x-infermesh-semantic", "nothing near")
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        return answer, headers, time.perf_counter() - began

    def show(self, question: Question, answer: str, headers: dict[str, str], took_s: float) -> None:
        """One question with its answer, and where that came from."""
        self.console.print(f"[bold]you[/]  {question.text}\n[bold]mesh[/] {answer}")
        sure = headers.get("x-infermesh-probability")
        facts = [f"[cyan]{headers['x-infermesh-tier']}[/] in {took_s * 1000:.0f} ms"]
        if "x-infermesh-similarity" in headers:
            facts.append(f"similarity {float(headers['x-infermesh-similarity']):.2f}")
        if sure is not None:
            facts.append(f"{float(sure):.1%} sure")
        if bound := headers.get("x-infermesh-error-bound"):
            facts.append(f"at most {float(bound):.1%} of all requests wrong")
        if saved := headers.get("x-infermesh-saved-usd"):
            facts.append(f"saved ${saved}")
        self.console.print(f"     {', '.join(facts)}")


def semantic_cache(
    console: Console,
    url: str,
    resources: Path,
    operator: infermesh.Client,
    wait_for: Callable[[Callable[[], bool], str], None],
) -> None:
    """Declares a tenant with the semantic cache on, teaches it, shows a hit and a refusal.

    Args:
        console: where to.
        url: of the mesh.
        resources: folder of its resources.
        operator: may issue keys.
        wait_for: polls for what takes a moment.
    """
    console.rule("Questions of the same meaning: a support desk that learns", align="left")
    with simulator_in_thread(script()) as simulator:
        file = resources / "support.yaml"
        file.write_text("\n---\n".join(map(json.dumps, documents(simulator.url, SEMANTIC))))
        wait_for(
            lambda: TENANT in {tenant.name for tenant in operator.tenants()}
            and MODEL in {model.name for model in operator.models()},
            "The support desk's resources were not in force",
        )
        key = operator.create_key(tenant=TENANT).secret
        desk = _Desk(openai.OpenAI(base_url=f"{url}/v1", api_key=key), console)
        stream = questions(seed=2)
        wait_for(lambda: _is_learning(desk, next(stream)), "The embedding model was not loaded")
        console.print(
            "     [dim]The policy permits 5 % wrong answers at 95 % confidence. Nothing is known"
            " yet, so a model answers, and its answers are compared.[/]"
        )
        for _ in range(_MOST):
            question = next(stream)
            answer, headers, took_s = desk.ask(question)
            if headers["x-infermesh-tier"] == "semantic":
                break
        else:
            raise SystemExit(f"The semantic cache served nothing: {desk.refusals}.")
        console.print(f"     {desk.asked - 1} questions later it serves its first answer:\n")
        desk.show(question, answer, headers, took_s)
        shown = 0
        for _ in range(_MORE):
            question = next(stream)
            answer, headers, took_s = desk.ask(question)
            if headers["x-infermesh-tier"] == "semantic" and shown < _SHOWN - 1:
                shown += 1
                desk.show(question, answer, headers, took_s)
        console.print(
            f"\n     {desk.asked} questions in different words, {desk.served} answered by meaning,"
            f" {desk.wrong} answers wrong ({desk.wrong / desk.asked:.1%} of all; 5 % permitted)."
        )
        _refusal(console, url, key)


def _is_learning(desk: _Desk, question: Question) -> bool:
    _, headers, _ = desk.ask(question)
    return "x-infermesh-semantic" in headers


def _refusal(console: Console, url: str, key: str) -> None:
    """A question that has no answer here, and why none is served."""
    text = "Could you tell me, do you deliver invoices to the moon on Sundays?"
    with infermesh.Client(url, key) as client:
        told = client.explain_lookup(
            [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": text},
            ],
            models=[MODEL],
            task="general",
            parameters={"temperature": 0},
        )
    console.print(f"\n[bold]you[/]  {text}")
    nearest = told.candidates[0] if told.candidates else None
    console.print(f"     [cyan]{told.match.verdict}[/]: {told.explanation}")
    if nearest is not None:
        console.print(
            f"     nearest: '{nearest.text}', similarity {nearest.similarity:.2f}"
            f' (infermesh cache explain "...")'
        )
