"""Requests at a fixed rate on every surface, each one accounted for."""

import asyncio
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from benchmarks.soak.client import NAMES, MeshClient, Question, Reply
from benchmarks.soak.scripts import ANSWER, FILLER
from benchmarks.soak.stand import WIRES, Soaked, model_of
from benchmarks.soak.surfaces import NotOfTheSurface
from infermesh import AsyncClient

WITHIN_S = 30.0
"""A request that takes longer hangs: providers may take 4 s, and three of them may be asked."""
REPEATS = 0.5
_RECENT = 200
# Short, so that a burst is not seen in Envoy's open files for long.
_KEEP_ALIVE_S = 5
# With so many under way the machine has become slower than it was when the rate was chosen.
_MOST_UNANSWERED = 500
_WEIGHTS = {"openai": 5, "anthropic": 2, "gemini": 2, "bedrock": 1}


@dataclass(slots=True)
class Outcomes:
    """What became of requests.

    Attributes:
        good: whether it was answered, by request id.
        failures: how many, by the code of the error.
        caches: how many answers, by what the caches did.
        broken: what no reply may be, in a sentence each.
        slowest_s: the longest that a reply took.
    """

    good: dict[str, bool] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    caches: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def add(self, question: Question, reply: Reply) -> None:
        """Takes note of a reply."""
        self.good[question.request_id] = reply.good
        self.slowest_s = max(self.slowest_s, reply.took_s)
        failure = reply.said.failure
        if reply.good:
            self.caches[reply.cache] += 1
            if reply.said.text.replace(FILLER, "") != ANSWER.replace(FILLER, ""):
                self.broken.append(f"{question}: another answer: {reply.said.text[:200]}")
        elif failure is None or failure.code == "internal":
            self.broken.append(f"{question}: no clear error: {str(reply)[:400]}")
        else:
            self.failures[failure.code] += 1

    def lost(self, question: Question, error: BaseException) -> None:
        """There was no reply, or none in the form of its surface."""
        self.good[question.request_id] = False
        self.broken.append(f"{question}: {error!r}"[:600])


class Questions:
    """Draws questions: some were asked a moment ago, the others never.

    Args:
        keys: API keys by tenant.
        tag: of all.
        seed: of chance.
        repeats: share of those that were asked a moment ago.
    """

    def __init__(
        self, keys: Mapping[str, str], tag: str, seed: int, repeats: float = REPEATS
    ) -> None:
        self._keys = list(keys.values())
        self._tag = tag
        self._repeats = repeats
        self._drawn = random.Random(seed)
        self._wires = [wire for wire in WIRES for _ in range(_WEIGHTS[wire])]
        self._recent: deque[tuple[str, str, str]] = deque(maxlen=_RECENT)
        self._number = 0

    def next(self) -> Question:
        """The next one."""
        drawn = self._drawn
        if self._recent and drawn.random() < self._repeats:
            model, text, key = drawn.choice(self._recent)
        else:
            self._number += 1
            text = f"What is the capital of France? {self._tag} {self._number}"
            model, key = model_of(drawn.choice(self._wires)), drawn.choice(self._keys)
            self._recent.append((model, text, key))
        surface, stream = drawn.choice(NAMES), drawn.random() < 0.5
        return Question(surface, stream, model, text, str(uuid.uuid4()), key, self._tag)


@asynccontextmanager
async def client_of(mesh: Soaked) -> AsyncIterator[MeshClient]:
    """A client that holds as many connections as it needs."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout())
        )
        typed = {
            key: await stack.enter_async_context(
                AsyncClient(mesh.info.url, key, max_retries=0, timeout_s=WITHIN_S)
            )
            for key in mesh.keys.values()
        }
        yield MeshClient(mesh.info.url, session, typed, WITHIN_S)


async def saturate(
    client: MeshClient, questions: Questions, workers: int, *, seconds: float, requests: int = 0
) -> float:
    """Replies per second, when each of `workers` asks again as soon as it has one.

    Args:
        client: asks.
        questions: are asked.
        workers: requests under way at once.
        seconds: for at least so long.
        requests: and at least so many.

    Raises:
        NotOfTheSurface, TimeoutError, aiohttp.ClientError: a request failed.
    """
    answered = 0
    began = time.monotonic()

    async def work() -> None:
        nonlocal answered
        while answered < requests or time.monotonic() < began + seconds:
            await client.ask(questions.next())
            answered += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    return answered / (time.monotonic() - began)


class Load:
    """An open loop: a request is sent when it is due, whether or not others are answered.

    With very many unanswered it holds back: the soak is about what is lost or left behind, not
    about more load than the machine can take at the moment.

    Args:
        client: asks.
        questions: are asked.

    Attributes:
        outcomes: of what was sent.
        sent: requests so far.
        most_late_s: how late the sending of one was at most, while it did not hold back.
        held_back_s: how long it held back, all in all.
    """

    def __init__(self, client: MeshClient, questions: Questions) -> None:
        self._client = client
        self._questions = questions
        self._under_way: set[asyncio.Task[None]] = set()
        self.outcomes = Outcomes()
        self.sent = 0
        self.most_late_s = 0.0
        self.held_back_s = 0.0

    async def run(self, rate: float, seconds: float) -> Outcomes:
        """Sends for `seconds`, then waits for the last replies.

        Args:
            rate: requests a second.
            seconds: for how long.
        """
        ends_s = time.monotonic() + seconds
        due_s = time.monotonic()
        while due_s < ends_s:
            if len(self._under_way) >= _MOST_UNANSWERED:
                began_s = time.monotonic()
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                self.held_back_s += time.monotonic() - began_s
                due_s = max(due_s, time.monotonic())
                continue
            if (late_s := time.monotonic() - due_s) < 0:
                await asyncio.sleep(-late_s)
                continue
            self.most_late_s = max(self.most_late_s, late_s)
            self._send()
            due_s += 1 / rate
        while self._under_way:
            await asyncio.wait(self._under_way)
        return self.outcomes

    def _send(self) -> None:
        self.sent += 1
        task = asyncio.get_running_loop().create_task(self._ask(self._questions.next()))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask(self, question: Question) -> None:
        try:
            reply = await self._client.ask(question)
        except (NotOfTheSurface, TimeoutError, aiohttp.ClientError, OSError) as error:
            self.outcomes.lost(question, error)
        else:
            self.outcomes.add(question, reply)
