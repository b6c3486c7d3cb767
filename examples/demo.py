"""The mesh at work: `make demo`, or `python -m examples.demo`.

Starts a mesh of its own on this machine with the embedded model, talks to it through the official
OpenAI SDK, shows what each answer cost and saved and why, and stops it.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
from openai.types.chat import ChatCompletionMessageParam
from rich.console import Console
from rich.table import Table

import infermesh
from examples.semantic_demo import semantic_cache
from infermesh_local import LocalMesh, LocalMeshError, MeshInfo, NotRunning, UpOptions

STATE = Path(__file__).resolve().parent.parent / "build" / "demo"
MODEL = "smollm2-135m"
QUESTIONS = (
    "What is the capital of France?",
    "Who wrote Hamlet?",
    "What is the capital of France?",
)
BURST = 8
_WAIT_S = 60.0

console = Console(highlight=False, soft_wrap=True)


@contextmanager
def running_mesh(state: Path) -> Iterator[MeshInfo]:
    """A fresh mesh, stopped at the end whatever happens."""
    mesh = LocalMesh(state)
    try:
        mesh.down(quiet)
    except NotRunning:
        shutil.rmtree(state, ignore_errors=True)
    began = time.monotonic()
    info = mesh.up(UpOptions(), lambda line: console.print(f"  {line}", style="dim"))
    console.print(f"The mesh is up at {info.url} ({time.monotonic() - began:.0f} s).\n")
    try:
        yield info
    finally:
        mesh.down(quiet)
        console.print("\nThe mesh is stopped; nothing is left running.")


def quiet(line: str) -> None:
    """Swallows progress."""


def conversation(question: str) -> list[ChatCompletionMessageParam]:
    """One question to a model that is told to be brief."""
    return [
        {"role": "system", "content": "You are a helpful assistant. Answer in one short sentence."},
        {"role": "user", "content": question},
    ]


def explain(headers: dict[str, str], took_s: float) -> str:
    """One line on where an answer came from."""
    cost, saved = headers.get("x-infermesh-cost-usd"), headers.get("x-infermesh-saved-usd")
    money = f"cost ${cost}, saved ${saved}" if cost else "cost known when the stream has ended"
    return (
        f"     [cyan]{headers['x-infermesh-cache']}[/] from {headers['x-infermesh-model']}"
        f" in {took_s * 1000:.0f} ms, {money}"
    )


def ask(client: openai.OpenAI, question: str) -> tuple[str, dict[str, str], float]:
    """The answer, the response headers and the seconds it took."""
    began = time.perf_counter()
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=conversation(question), temperature=0
    )
    answer = raw.parse().choices[0].message.content or ""
    return answer, dict(raw.headers), time.perf_counter() - began


def misses_and_hits(client: openai.OpenAI) -> None:
    """A question, another one, and the first again."""
    console.rule("A conversation: the third question is the first again", align="left")
    for question in QUESTIONS:
        answer, headers, took_s = ask(client, question)
        console.print(f"[bold]you[/]  {question}\n[bold]mesh[/] {answer}")
        console.print(explain(headers, took_s))


def streams(client: openai.OpenAI) -> None:
    """A stream, and its replay out of the cache."""
    console.rule("The same as a stream, live and then replayed from the cache", align="left")
    question = "What does a load balancer do?"
    for _ in range(2):
        began = time.perf_counter()
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=conversation(question), temperature=0, stream=True
        )
        console.print(f"[bold]you[/]  {question}\n[bold]mesh[/] ", end="")
        for chunk in raw.parse():
            if chunk.choices and (text := chunk.choices[0].delta.content):
                console.print(text, end="")
        console.print("\n" + explain(dict(raw.headers), time.perf_counter() - began))


def burst(client: openai.OpenAI) -> None:
    """Identical questions at the same moment."""
    console.rule(f"{BURST} identical questions at once share one call of the model", align="left")
    question = "What is photosynthesis?"
    with ThreadPoolExecutor(BURST) as pool:
        answers = list(pool.map(lambda _: ask(client, question), range(BURST)))
    statuses = [headers["x-infermesh-cache"] for _, headers, _ in answers]
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    console.print(f"[bold]you[/]  {question} (x {BURST})\n[bold]mesh[/] {answers[0][0]}")
    summary = ", ".join(f"{count} x [cyan]{status}[/]" for status, count in counts.items())
    console.print(f"     {summary}; {len({text for text, _, _ in answers})} distinct answer")
    if counts.get("miss") != 1:
        raise SystemExit("The burst did not share one upstream call.")


def refusal(url: str) -> None:
    """A key that does not exist."""
    console.rule("A wrong key raises the SDK's own exception", align="left")
    stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="im_0123456789abcdef_" + "x" * 43)
    try:
        ask(stranger, "Who am I?")
    except openai.AuthenticationError as error:
        console.print(f"     openai.{type(error).__name__}: {error.message}")
    else:
        raise SystemExit("A wrong key was accepted.")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Polls: some things take a moment, such as what is written after an answer."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} within {_WAIT_S:.0f} s")
        time.sleep(0.1)


def savings(mesh: infermesh.Client) -> None:
    """What the ledger says, and one decision in full."""
    console.rule("What the ledger says", align="left")
    asked = len(QUESTIONS) + 2 + BURST
    wait_for(
        lambda: sum(row.requests for row in mesh.usage()) == asked,
        f"The ledger did not show {asked} inferences",
    )
    (total,) = mesh.usage()
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("requests", "from cache", "hit rate", "without mesh", "cost", "saved"):
        table.add_column(name, justify="right", no_wrap=True)
    assert total.baseline_cost is not None and total.saved is not None and total.cost is not None
    table.add_row(
        str(total.requests),
        str(total.cache_hits),
        f"{total.hit_rate:.0%}",
        f"${total.baseline_cost:f}",
        f"${total.cost:f}",
        f"${total.saved:f} ({total.saved / total.baseline_cost:.0%})",
    )
    console.print(table)
    event = next(iter(mesh.events()))
    stages = ", ".join(f"{s.stage} {s.duration_ms:.2f} ms" for s in event.decision.stages)
    console.print(f"Last decision: {event.decision.reason} Stages: {stages}.")


def main() -> int:
    """Runs the demo; exit code 1 when the mesh could not be started."""
    console.print("[bold]InferMesh demo[/]: starting the mesh with its embedded model\n")
    try:
        with running_mesh(STATE) as info:
            key = info.tenant_key_files["demo"].read_text().strip()
            client = openai.OpenAI(base_url=f"{info.url}/v1", api_key=key)
            misses_and_hits(client)
            streams(client)
            burst(client)
            refusal(info.url)
            with infermesh.Client(info.url, key) as mesh:
                savings(mesh)
            operator_key = info.operator_key_file.read_text().strip()
            with infermesh.Client(info.url, operator_key) as operator:
                semantic_cache(console, info.url, info.resources_dir, operator, wait_for)
    except LocalMeshError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(
        "\nThe model is tiny and its price is an estimate for this machine: the point is the path."
        "\nNext: [bold]make up[/], then"
        "\n  .venv/bin/infermesh chat --message 'Hello'   talk to it"
        "\n  .venv/bin/infermesh savings                  what it saved"
        "\n  OPENAI_API_KEY=... make up                   adds OpenAI's models behind the same key"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
