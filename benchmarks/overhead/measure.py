"""One measurement: load, with proof that every answer was what it is taken for."""

import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol, TypeVar

from benchmarks import load
from benchmarks.open_loop import Latencies, drive
from benchmarks.overhead.contenders import Contender, Reaches, content
from benchmarks.processes import Neighbours, settle, wait_until
from benchmarks.target import QUESTION, Target, ask
from benchmarks.upstream import Upstream

CONNECTIONS = 16
# Answers differ by a few bytes: numbers in them are shorter or longer.
_SAME_SIZE = 0.9


class _Measured(Protocol):
    @property
    def completed(self) -> int: ...
    @property
    def received(self) -> int: ...


Done = TypeVar("Done", bound=_Measured)


class Unfit(Exception):
    """The answers of a contender are not what they must be; says how."""


@dataclass
class Meter:
    """Measures contenders before one upstream.

    Attributes:
        upstream: all of them stand before.
        pids: of everything that must be idle between measurements.
        seconds: length of a measurement.
        settled: seconds that it took to be idle after each measurement, by contender.
        neighbours: percent of the machine that others used in each measurement.
    """

    upstream: Upstream
    pids: Sequence[int]
    seconds: int
    settled: dict[str, list[float]] = field(default_factory=dict)
    neighbours: list[float] = field(default_factory=list)
    _seeds: "count[int]" = field(default_factory=lambda: count(1))

    def throughput(self, contender: Contender, seconds: int | None = None) -> float:
        """Requests per second at 16 connections."""
        return self._closed(contender, CONNECTIONS, seconds or self.seconds).rps

    def median(self, contender: Contender) -> float:
        """Median latency at one connection, in milliseconds."""
        return self._closed(contender, 1, self.seconds).p50_ms

    def tail(self, contender: Contender, rate: float) -> Latencies:
        """Latencies at a fixed rate of requests, in milliseconds."""
        seed = next(self._seeds)
        return self._checked(
            contender,
            lambda: drive(
                contender.target,
                rate=rate,
                seconds=self.seconds,
                unique=contender.unique,
                seed=seed,
            ),
            cut_off=0,
        )

    def verify(self, contender: Contender) -> int:
        """Asks for a sample and compares it with the upstream's own answer.

        Returns:
            Bytes of the sample's body.

        Raises:
            Unfit: it is not as it must be.
        """
        question = QUESTION if not contender.unique else f"{QUESTION} s-{next(self._seeds)}"
        target = contender.target
        try:
            right = content(
                ask(self.upstream.target(stream=target.stream), question), stream=target.stream
            )
            if contender.reaches is Reaches.NEVER:
                # The first one fills the cache, which may be after its answer.
                wait_until(lambda: not self._reached(target), f"a hit of {contender.name}", 10)
            before = self.upstream.requests()
            reply = ask(target, question)
            if reply.status != 200:
                raise Unfit(f"{contender.name}: status {reply.status}: {reply.body[:300]!r}")
            answer = content(reply, stream=target.stream)
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            raise Unfit(f"{contender.name}: {type(error).__name__}: {error}") from error
        if answer != right:
            raise Unfit(f"{contender.name} answered {answer!r:.200} and not {right!r:.200}")
        check_reach(contender, self.upstream.requests() - before, 1, 0)
        return len(reply.body)

    def _reached(self, target: Target) -> bool:
        before = self.upstream.requests()
        ask(target, QUESTION)
        return self.upstream.requests() > before

    def _closed(self, contender: Contender, connections: int, seconds: int) -> load.Load:
        seed = next(self._seeds)
        return self._checked(
            contender,
            lambda: load.run(
                contender.target,
                connections=connections,
                seconds=seconds,
                unique=contender.unique,
                seed=seed,
            ),
            # What is under way when the time is over is cut off: seen above, not counted here.
            cut_off=connections,
        )

    def _checked(self, contender: Contender, run: Callable[[], Done], cut_off: int) -> Done:
        """Runs it and compares what the upstream and the load saw."""
        size = self.verify(contender)
        before = self.upstream.requests()
        others = Neighbours(self.pids)
        done = run()
        self.neighbours.append(others.percent())
        took = settle(self.pids)
        self.settled.setdefault(contender.name, []).append(took)
        check_reach(contender, self.upstream.requests() - before, done.completed, cut_off)
        if done.received < done.completed * size * _SAME_SIZE:
            raise Unfit(
                f"{contender.name}: {done.completed} answers of {size} bytes should be more than "
                f"{done.received} bytes"
            )
        return done


def check_reach(contender: Contender, seen: int, completed: int, cut_off: int) -> None:
    """Compares what the upstream saw with what it must have seen.

    Args:
        contender: that was asked.
        seen: requests by the upstream.
        completed: requests that were answered.
        cut_off: further ones that may have been under way at the end.

    Raises:
        Unfit: they do not fit.
    """
    if contender.reaches is Reaches.NEVER:
        if seen:
            raise Unfit(f"{contender.name}: {seen} of {completed} requests reached the upstream")
    elif not completed <= seen <= completed + cut_off:
        raise Unfit(f"{contender.name}: {completed} answers, but {seen} requests at the upstream")
