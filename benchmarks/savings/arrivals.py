"""Who asks what when: prompts that repeat by a Zipf law, for each of several teams.

The k-th most popular of P prompts is asked with probability proportional to 1 / k^s. Each team has
a popularity order of its own and, as a tenant of the mesh, a cache of its own. The exponent is that
of requests to web caches: 0.64 to 0.83 in six traces (Breslau et al., "Web Caching and Zipf-like
Distributions", INFOCOM 1999).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.savings.dataset import Row

EXPONENT = 0.7
IDEAL_HIT_RATE = 0.30
TEAMS = 10


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request.

    Attributes:
        team: who asks; each has a cache of its own.
        row: what is asked.
    """

    team: int
    row: Row


class ZipfLaw:
    """Probabilities of prompts by rank.

    Args:
        prompts: how many there are; at least 1.
        exponent: 0 makes all equally popular.
    """

    def __init__(self, prompts: int, exponent: float = EXPONENT) -> None:
        weights = [math.pow(rank, -exponent) for rank in range(1, prompts + 1)]
        total = sum(weights)
        self.probabilities = tuple(weight / total for weight in weights)
        self._cumulative = tuple(accumulate(weights))

    def draw(self, count: int, chance: random.Random) -> list[int]:
        """Ranks, 0 for the most popular, of `count` requests."""
        return chance.choices(range(len(self.probabilities)), cum_weights=self._cumulative, k=count)

    def hit_rate(self, count: int) -> float:
        """Expected share of `count` requests that repeat an earlier one."""
        distinct = sum(1 - math.pow(1 - p, count) for p in self.probabilities)
        return 1 - distinct / count

    def count_for(self, hit_rate: float) -> int:
        """Fewest requests of which at least `hit_rate` are expected to repeat an earlier one."""
        low, high = 1, 2
        while self.hit_rate(high) < hit_rate:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.hit_rate(middle) < hit_rate else (low, middle)
        return high

    def effective_prompts(self, count: int, teams: int) -> float:
        """How many prompts asked once each would make an average over `teams` x `count` requests as
        certain: (sum c)^2 / sum c^2 of the expected squares of the counts c a prompt."""
        own = sum(count * p * (1 - p) + (count * p) ** 2 for p in self.probabilities)
        between = teams * (teams - 1) * count**2 / len(self.probabilities)
        return (teams * count) ** 2 / (teams * own + between)


def traffic(
    rows: Sequence[Row], law: ZipfLaw, count: int, seed: int, teams: int = TEAMS
) -> list[Arrival]:
    """`count` requests of each team, taking turns."""
    streams: list[list[Arrival]] = []
    for team in range(teams):
        chance = random.Random(f"{seed}:team {team}")
        by_rank = chance.sample(list(rows), len(rows))
        streams.append([Arrival(team, by_rank[rank]) for rank in law.draw(count, chance)])
    return [arrival for turn in zip(*streams, strict=True) for arrival in turn]


def first_asked(arrivals: Sequence[Arrival]) -> list[bool]:
    """For each arrival, whether its team asks that for the first time: all others an exact cache
    that forgets nothing answers, whether they come later or at the same time."""
    seen: set[tuple[int, str]] = set()
    first: list[bool] = []
    for arrival in arrivals:
        key = (arrival.team, arrival.row.prompt)
        first.append(key not in seen)
        seen.add(key)
    return first


def ideal_hit_rate(arrivals: Sequence[Arrival]) -> float:
    """Share of these very arrivals that an exact cache can answer at best."""
    return 1 - sum(first_asked(arrivals)) / len(arrivals)
