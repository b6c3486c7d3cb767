"""Which of a provider's keys is used next, and which are left alone for a while."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum

_HIGHEST_LEVEL = 30
_JITTER = 0.25
_EVERY_MODEL = ""


class Why(Enum):
    """Why a key rests; values are labels of a metric."""

    RATE_LIMITED = "rate_limited"
    EXHAUSTED = "exhausted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RestRules:
    """How long keys rest, in seconds.

    Attributes:
        first_s: after a refusal for the rate that does not say; doubled at each one that follows.
        refused_s: after a key was refused itself; doubled likewise.
        longest_s: at most, whatever the provider says.
    """

    first_s: float
    refused_s: float
    longest_s: float


@dataclass(slots=True)
class _Rest:
    until_s: float
    level: int
    why: Why


class KeyRing:
    """The keys of one provider by their place in the resource.

    Limits of a rate are kept by key and model, as providers keep them: a model that is asked too
    much says nothing about the others. A key that is refused is refused for every model.

    Args:
        weights: of each key, in order.
        rules: how long keys rest.
        clock: seconds that only grow, such as `time.monotonic`.
        random: a number in [0, 1), so that keys of many processes do not wake at once.
    """

    def __init__(
        self,
        weights: Sequence[int],
        rules: RestRules,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._weights = tuple(weights)
        self._rules = rules
        self._clock = clock
        self._random = random
        self._rests: dict[tuple[int, str], _Rest] = {}
        self._turns = [0] * len(self._weights)

    def choose(self, model: str, without: Collection[int] = ()) -> int | None:
        """The key for the next call of `model`; None when each one rests or is in `without`.

        In turns, each as often as its weight, and as evenly spread as can be (nginx's "smooth
        weighted round-robin"). What a resting key does not take is shared by the others.
        """
        if not self._rests and not without and len(self._weights) == 1:
            return 0
        chosen, total = None, 0
        for key, weight in enumerate(self._weights):
            if key in without or self.rest_s(key, model) > 0:
                continue
            self._turns[key] += weight
            total += weight
            if chosen is None or self._turns[key] > self._turns[chosen]:
                chosen = key
        if chosen is not None:
            self._turns[chosen] -= total
        return chosen

    def is_free(self, model: str) -> bool:
        """Whether `choose` would find a key."""
        return any(self.rest_s(key, model) <= 0 for key in range(len(self._weights)))

    def rest(self, key: int, model: str, why: Why, stated_s: float | None = None) -> float:
        """Leaves `key` alone, for `model` or, when it was refused itself, for every model.

        Args:
            stated_s: how long the provider asks for; None or 0 when it does not say.

        Returns:
            Seconds it rests from now on.
        """
        scope = (key, _EVERY_MODEL if why is Why.REFUSED else model)
        now_s, old = self._clock(), self._rests.get(scope)
        resting = old is not None and old.until_s > now_s
        level = 0
        if old is not None:
            # Calls that were under way when it began to rest do not add up.
            level = old.level if resting else min(old.level + 1, _HIGHEST_LEVEL)
        wait_s = stated_s or self._default_s(why, level)
        until_s = now_s + min(wait_s, self._rules.longest_s)
        if old is not None and resting:
            until_s = max(until_s, old.until_s) if stated_s else old.until_s
        self._rests[scope] = _Rest(until_s, level, why)
        return until_s - now_s

    def answered(self, key: int, model: str) -> None:
        """A call has succeeded: the next refusal is the first one again. A rest goes on: the call
        may have begun before it."""
        if not self._rests:
            return
        now_s = self._clock()
        for scope in ((key, model), (key, _EVERY_MODEL)):
            rest = self._rests.get(scope)
            if rest is not None and rest.until_s <= now_s:
                del self._rests[scope]

    def forget(self, key: int) -> None:
        """Ends every rest of `key`: there is another secret in its place."""
        self._rests = {scope: rest for scope, rest in self._rests.items() if scope[0] != key}

    @property
    def rested(self) -> Collection[int]:
        """Keys that rest, or have and were not used with success since."""
        return {key for key, _ in self._rests}

    @property
    def resting(self) -> Collection[int]:
        """Keys that rest, for whichever model."""
        now_s = self._clock()
        return {key for (key, _), rest in self._rests.items() if rest.until_s > now_s}

    def rest_s(self, key: int, model: str) -> float:
        """How long `key` still rests for `model`, in seconds; 0 when it does not."""
        if not self._rests:
            return 0.0
        now_s, longest_s = self._clock(), 0.0
        for scope in ((key, model), (key, _EVERY_MODEL)):
            if (rest := self._rests.get(scope)) is not None:
                longest_s = max(longest_s, rest.until_s - now_s)
        return longest_s

    def is_refused(self, key: int) -> bool:
        """Whether `key` rests because it was refused itself."""
        rest = self._rests.get((key, _EVERY_MODEL))
        return rest is not None and rest.until_s > self._clock()

    def _default_s(self, why: Why, level: int) -> float:
        first_s = self._rules.refused_s if why is Why.REFUSED else self._rules.first_s
        spread = 1 - _JITTER + 2 * _JITTER * self._random()
        return min(first_s * 2.0**level, self._rules.longest_s) * spread
