"""Constant load on an edge, with every failure counted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

import aiohttp
import openai

Send = Callable[[int], Awaitable[None]]
"""Sends the n-th request; raises when the answer is not what it should be."""


class Refused(Exception):
    """An answer with another status than 200, or with a body that is none."""


@dataclass(slots=True)
class LoadReport:
    """What came of it.

    Attributes:
        sent: requests begun.
        succeeded: those with the right answer.
        failures: how often each failure was seen, by its text.
        skipped: requests not sent, since as many as may be were under way.
        slowest_s: the longest time of one that succeeded, in seconds.
    """

    sent: int = 0
    succeeded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    slowest_s: float = 0.0

    @property
    def failed(self) -> int:
        """All failures."""
        return self.failures.total()

    def __str__(self) -> str:
        kinds = "".join(f"; {count}x {what}" for what, count in self.failures.most_common(5))
        return (
            f"{self.succeeded} of {self.sent} answered, {self.failed} failed,"
            f" {self.skipped} not sent, slowest {self.slowest_s:.2f} s{kinds}"
        )


class ConstantLoad:
    """Sends requests at a constant rate for the time of an `async with` block.

    The rate does not fall when answers are late; what is beyond `at_most` is counted as skipped.
    At the end it waits for the answers that are still to come.

    Args:
        send: see `Send`.
        per_second: requests a second.
        at_most: requests under way at a time.
        patience_s: an answer that takes longer is a failure.
    """

    def __init__(
        self, send: Send, *, per_second: float, at_most: int = 64, patience_s: float = 60
    ) -> None:
        self.report = LoadReport()
        self._send = send
        self._interval_s = 1 / per_second
        self._at_most = at_most
        self._patience_s = patience_s
        self._stopped = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._pacing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ConstantLoad:
        self._pacing = asyncio.create_task(self._pace())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._pacing is not None:
            await self._pacing
        await asyncio.gather(*self._under_way)

    async def for_requests(self, count: int, *, within_s: float = 60) -> None:
        """Returns when that many more requests have been answered, well or badly.

        Raises:
            TimeoutError: they were not.
        """
        wanted = self.report.succeeded + self.report.failed + count
        async with asyncio.timeout(within_s):
            while self.report.succeeded + self.report.failed < wanted:
                if self._under_way:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await self._pause(self._interval_s)

    async def _pace(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            if len(self._under_way) < self._at_most:
                task = asyncio.create_task(self._one(self.report.sent))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                self.report.sent += 1
            else:
                self.report.skipped += 1
            due += self._interval_s
            await self._pause(max(0.0, due - time.monotonic()))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return

    async def _one(self, number: int) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                await self._send(number)
        except Exception as error:  # Whatever it is, it is a failure, and is counted as one.
            self.report.failures[f"{type(error).__name__}: {error}"[:300]] += 1
            return
        self.report.succeeded += 1
        self.report.slowest_s = max(self.report.slowest_s, time.monotonic() - begun)


def through_openai(client: openai.AsyncOpenAI, model: str, *, stream: bool = False) -> Send:
    """Questions nobody asked before, through OpenAI's SDK; a stream is read to its end.

    Args:
        client: with `max_retries=0`, or failures stay hidden.
        model: to ask.
        stream: whether the answer is to come in pieces.
    """

    async def send(number: int) -> None:
        question = f"{number} {uuid.uuid4()}"
        if not stream:
            answer = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}]
            )
            if not answer.choices:
                raise Refused("an answer without a choice")
            return
        finished = False
        async for chunk in await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], stream=True
        ):
            finished = finished or any(choice.finish_reason for choice in chunk.choices)
        if not finished:
            raise Refused("a stream that ended before its finish_reason")

    return send


def through_http(
    session: aiohttp.ClientSession, method: str, url: str, body: object = None
) -> Send:
    """One and the same request, without an SDK; its answer is read to the end.

    Args:
        session: with the headers it takes.
        method: of HTTP.
        url: in full, or below the session's base.
        body: sent as JSON.
    """

    async def send(number: int) -> None:
        async with session.request(method, url, json=body) as answer:
            text = await answer.text(errors="replace")
            if answer.status != 200:
                raise Refused(f"{answer.status} {text[:200]}")

    return send
