"""How many attempts there may be beyond the first of each request."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 10
"""Over how many seconds requests and further attempts are counted."""


@dataclass(slots=True)
class _Second:
    number: int
    requests: int = 0
    extra: int = 0


class RetryBudget:
    """Keeps an outage from being doubled by those who try again.

    In the last ten seconds there are at most `share` times as many further attempts as requests,
    and `per_second` more for each second, so that a service with little to do may try again too.

    Args:
        share: of the requests, for example 0.2.
        per_second: see above.
        clock: seconds that only grow, such as `time.monotonic`.
    """

    def __init__(self, share: float, per_second: float, clock: Callable[[], float]) -> None:
        self._share = share
        self._least = per_second * WINDOW_S
        self._clock = clock
        self._seconds: deque[_Second] = deque()
        self._requests = 0
        self._extra = 0

    def count_request(self) -> None:
        """A request begins."""
        self._now().requests += 1
        self._requests += 1

    def draw(self) -> bool:
        """Whether one further attempt may be made; it is counted when it may."""
        second = self._now()
        if self._extra + 1 > self._share * self._requests + self._least:
            return False
        second.extra += 1
        self._extra += 1
        return True

    def retry_after_s(self) -> float:
        """When a further attempt may be allowed again: once the oldest ones no longer count."""
        now_s = self._clock()
        oldest = next((second.number for second in self._seconds if second.extra), int(now_s))
        return max(1.0, oldest + WINDOW_S - now_s)

    def _now(self) -> _Second:
        """The second that it is, after those are gone that no longer count."""
        number = int(self._clock())
        seconds = self._seconds
        if seconds and seconds[-1].number == number:
            return seconds[-1]
        while seconds and seconds[0].number <= number - WINDOW_S:
            gone = seconds.popleft()
            self._requests -= gone.requests
            self._extra -= gone.extra
        seconds.append(_Second(number))
        return seconds[-1]
