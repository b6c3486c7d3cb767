"""Asks every case of a stand, with a stand-in and without, then again when nothing fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.soak.client import MeshClient, Question, Reply
from infermesh import UsageEvent
from tests.e2e.simulated.cases import WIRES, Case, Fate
from tests.e2e.simulated.stand import BACKED, OTHER_ANSWER, PLAIN, Stand, at_once, new_id, slow
from tools.simulator.counts import TallyReport, Tokens

_AT_ONCE = 12
# They only wait.
_HANGING_AT_ONCE = 200


@dataclass
class Asked:
    """One case, asked once.

    Attributes:
        request_id: as sent.
        reply: or what was raised instead of one.
    """

    request_id: str
    reply: Reply | BaseException

    @property
    def got(self) -> Reply:
        """The reply; raises what was raised instead."""
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply

    @property
    def fate(self) -> Fate:
        """What has become of it."""
        got = self.got
        if got.good:
            return Fate.REPLACED if got.said.text == OTHER_ANSWER else Fate.ANSWERED
        return Fate.REFUSED if got.status == 400 else Fate.FAILED


@dataclass
class Matrix:
    """Everything that was asked, by tenant.

    Attributes:
        first: while the providers fail.
        again: the same once they do not.
        events: of the ledger, by request id.
        counted: by the simulators while they failed, by tenant and model.
        stood_in: tokens of the model that stands in, while the others failed.
        told: tokens of one whole answer, as each wire tells them.
        descriptors: of the router before anything failed.
    """

    first: dict[str, dict[Case, Asked]] = field(default_factory=dict)
    again: dict[str, dict[Case, Asked]] = field(default_factory=dict)
    events: dict[str, list[UsageEvent]] = field(default_factory=dict)
    counted: dict[str, dict[str, Tokens]] = field(default_factory=dict)
    stood_in: Tokens | None = None
    told: dict[str, Tokens] = field(default_factory=dict)
    descriptors: int = 0

    def events_of(self, asked: Asked) -> list[UsageEvent]:
        """Those of one request."""
        return self.events.get(asked.request_id, [])


class Driver:
    """Fills a matrix.

    Args:
        stand: to ask.
        cases: to ask.
    """

    def __init__(self, stand: Stand, cases: Sequence[Case]) -> None:
        self._stand = stand
        self._cases = cases
        self.matrix = Matrix()

    async def run(self) -> Matrix:
        """All of it."""
        matrix, stand = self.matrix, self._stand
        async with stand.client() as client:
            await self._warm_up(client)
            stand.simulators.left_open()
            matrix.descriptors = stand.descriptors()
            stand.simulators.strike()
            for tenant in (PLAIN, BACKED):
                stand.simulators.main.reset()
                stand.simulators.stand_in.reset()
                matrix.first[tenant] = await self._all(client, tenant, _HANGING_AT_ONCE)
                matrix.counted[tenant] = _tokens(stand.simulators.main.counts()["models"])
            matrix.stood_in = stand.simulators.stand_in.counts()["tokens"]
            stand.simulators.heal()
            for tenant in (PLAIN, BACKED):
                matrix.again[tenant] = await self._all(client, tenant, _AT_ONCE)
        for event in stand.events("matrix", 4 * len(self._cases)):
            matrix.events.setdefault(event.request_id, []).append(event)
        return matrix

    async def _warm_up(self, client: MeshClient) -> None:
        """One question for each wire; and as many at once as there will be, so that connections
        which are kept are there before they are counted."""
        stand = self._stand
        stand.simulators.heal()
        for wire in WIRES:
            question = self._question("chat", False, f"{wire}.healthy", PLAIN, "warm")
            assert (await client.ask(question)).good
        tokens = _tokens(stand.simulators.main.counts()["models"])
        self.matrix.told = {wire: tokens[f"{wire}.healthy"] for wire in WIRES}
        stand.simulators.main.load(slow())
        questions = [
            self._question(surface, True, "openai.healthy", PLAIN, f"warm {number}")
            for number in range(_HANGING_AT_ONCE // 2)
            for surface in ("chat", "typed")
        ]
        replies = await at_once([partial(client.ask, one) for one in questions], _HANGING_AT_ONCE)
        assert all(isinstance(reply, Reply) and reply.good for reply in replies), replies

    async def _all(
        self, client: MeshClient, tenant: str, hanging_at_once: int
    ) -> dict[Case, Asked]:
        hanging = [case for case in self._cases if case.strike.fault.endswith("_hang")]
        others = [case for case in self._cases if not case.strike.fault.endswith("_hang")]
        return {
            **await self._some(client, tenant, others, _AT_ONCE),
            **await self._some(client, tenant, hanging, hanging_at_once),
        }

    async def _some(
        self, client: MeshClient, tenant: str, cases: Sequence[Case], most: int
    ) -> dict[Case, Asked]:
        questions = [
            self._question(case.surface, case.stream, case.model, tenant, f"What of {case.model}?")
            for case in cases
        ]
        replies = await at_once([partial(client.ask, one) for one in questions], most)
        return {
            case: Asked(question.request_id, reply)
            for case, question, reply in zip(cases, questions, replies, strict=True)
        }

    def _question(self, surface: str, stream: bool, model: str, tenant: str, text: str) -> Question:
        tag = "warm" if text.startswith("warm") else "matrix"
        return Question(surface, stream, model, text, new_id(), self._stand.keys[tenant], tag)


def _tokens(models: dict[str, TallyReport]) -> dict[str, Tokens]:
    """Of models that have answered."""
    return {name: tally["tokens"] for name, tally in models.items() if tally["answered"]}
