"""Tuners of replicas: what one has seen the others know, and together they keep the bound."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from infermesh_cache.application.shared_tuner import SharedTuner
from infermesh_cache.domain.semantic.decision import Verdict
from infermesh_cache.domain.semantic.similarity import FEATURES, Proposal
from infermesh_cache.domain.semantic.tuner import TunerSettings
from infermesh_cache.learning_ports import Example, SharedState
from infermesh_common.errors import Unavailable

SETTINGS = TunerSettings(delta=0.05, audit_rate=0.05)


class States:
    """Implements `TunerStates` in memory."""

    def __init__(self) -> None:
        self.state: SharedState | None = None
        self.metric: bytes | None = None
        self.examples: list[Example] = []
        self.down = False
        self.before_swap = lambda: None

    def _check(self) -> None:
        if self.down:
            raise Unavailable("REDIS_UNAVAILABLE", "redis failed.")

    async def load(self, tenant: str, category: str) -> SharedState | None:
        self._check()
        return self.state

    async def swap(self, tenant: str, category: str, version: int, document: bytes) -> bool:
        self._check()
        self.before_swap()
        if version != (self.state.version if self.state else 0):
            return False
        self.state = SharedState(version + 1, document)
        return True

    async def load_metric(self, tenant: str, category: str) -> bytes | None:
        self._check()
        return self.metric

    async def save_metric(self, tenant: str, category: str, document: bytes) -> None:
        self._check()
        self.metric = document

    async def add_examples(self, tenant: str, category: str, examples: Sequence[Example]) -> None:
        self._check()
        self.examples.extend(examples)

    async def examples_after(
        self, tenant: str, category: str, cursor: str
    ) -> tuple[str, Sequence[Example]]:
        self._check()
        start = int(cursor or 0)
        return str(len(self.examples)), self.examples[start:]


class Replica:
    """A tuner and requests whose proposals are wrong now and then."""

    def __init__(self, states: States, name: str, *, seed: int = 1) -> None:
        self.shared = SharedTuner(states, "acme", "general", SETTINGS, origin=name)
        self.random = random.Random(seed)
        self.wrong_at_all = False

    def proposal(self) -> tuple[Proposal, bool]:
        wrong = self.wrong_at_all or self.random.random() < 0.4
        features = np.array([self.random.gauss(2 * wrong, 0.3) for _ in FEATURES])
        if self.wrong_at_all:
            features = np.array([self.random.gauss(0, 0.3) for _ in FEATURES])
        return Proposal("a", 0, 0.9, features), wrong

    async def requests(self, count: int, *, sync_every: int = 10) -> int:
        """Decides about proposals and learns; how many were served."""
        served = 0
        for number in range(count):
            proposal, wrong = self.proposal()
            decision = self.shared.tuner.decide(proposal, self.random.random())
            if decision.verdict is Verdict.SERVE:
                served += 1
            else:
                self.shared.learn(decision, wrong)
            if self.shared.fit_due() or self.shared.metric_due():
                await self.shared.take_fit(self.shared.material().fit())
            if number % sync_every == 0:
                await self.shared.sync()
        await self.shared.sync()
        return served

    @property
    def counts(self) -> tuple[int, int, int]:
        evidence = self.shared.tuner.certificate.evidence
        known = int(evidence.right.sum() + evidence.wrong.sum())
        return evidence.requests, int(evidence.served.sum()), known


async def in_step(*replicas: Replica) -> None:
    """Until all of them know everything."""
    for _ in range(2):
        for replica in replicas:
            await replica.shared.sync()


async def test_evidence_of_replicas_adds_and_is_counted_once() -> None:
    states = States()
    one, two = Replica(states, "one", seed=1), Replica(states, "two", seed=2)
    for _ in range(20):
        await one.requests(25)
        await two.requests(15)
    await in_step(one, two)
    assert one.counts == two.counts
    requests, served, _ = one.counts
    assert requests == 20 * 40 and served > 0


async def test_the_bound_of_two_replicas_holds_for_what_both_served() -> None:
    states = States()
    replicas = [Replica(states, str(seed), seed=seed) for seed in (3, 4)]
    for _ in range(30):
        for replica in replicas:
            await replica.requests(20, sync_every=1)
    await in_step(*replicas)
    for replica in replicas:
        assert replica.shared.error_bound() <= SETTINGS.delta
        assert replica.shared.unshared == 0 and not replica.shared.changed


async def test_a_replica_that_starts_goes_on_where_the_others_are() -> None:
    states = States()
    one = Replica(states, "one")
    await one.requests(600)
    late = Replica(states, "late", seed=9)
    await late.shared.restore()
    assert late.counts == one.counts
    assert late.shared.tuner.model is not None and not late.shared.fit_due()
    assert await late.requests(100) > 0


async def test_nothing_is_lost_when_another_replica_writes_first() -> None:
    states = States()
    one, two = Replica(states, "one"), Replica(states, "two")
    await in_step(one, two)
    one.shared.tuner.pass_by()

    def overtake() -> None:
        states.before_swap = lambda: None
        assert states.state is None
        document = two.shared._document()
        states.state = SharedState(1, document)

    two.shared.tuner.pass_by()
    states.before_swap = overtake
    await one.shared.sync()
    assert one.counts[0] == 2


async def test_a_store_that_is_away_delays_and_loses_nothing() -> None:
    states = States()
    one, two = Replica(states, "one"), Replica(states, "two")
    await one.requests(30)
    states.down = True
    with pytest.raises(Unavailable):
        await one.requests(1)
    states.down = False
    await in_step(one, two)
    assert two.counts == one.counts and one.counts[0] == 31
    assert two.shared.tuner.examples.seen == one.shared.tuner.examples.seen == 31


async def test_a_drift_that_one_replica_sees_the_others_take_over() -> None:
    states = States()
    one, two = Replica(states, "one", seed=5), Replica(states, "two", seed=6)
    for _ in range(20):
        await one.requests(30)
        await two.requests(30)
    one.wrong_at_all = True
    for _ in range(60):
        await one.requests(20)
        if one.shared.tuner.certificate.evidence.regime:
            break
    assert one.shared.tuner.certificate.evidence.regime == 1
    known = one.shared.tuner.certificate.evidence.known_wrong
    two.shared.tuner.pass_by()
    await two.shared.sync()
    assert two.shared.tuner.certificate.evidence.regime == 1
    assert two.shared.tuner.certificate.evidence.known_wrong >= known > 0
    assert two.shared.tuner.model is None


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"form": 99}', b'{"form": 1, "tuner": {}}'])
async def test_a_state_that_cannot_be_read_begins_anew(document: bytes) -> None:
    states = States()
    states.state = SharedState(7, document)
    one = Replica(states, "one")
    await one.requests(20)
    assert one.counts[0] == 20 and states.state is not None and states.state.version > 7
    states.metric = document
    other = Replica(states, "other")
    await other.shared.restore()
    assert other.shared.metric is None and other.counts[0] == 20


async def test_other_settings_keep_what_was_learnt() -> None:
    one = Replica(States(), "one")
    await one.requests(500)
    counts = one.counts
    one.shared.change(TunerSettings(delta=0.01, audit_rate=0.05))
    assert one.counts == counts and one.shared.settings.delta == 0.01


async def test_the_metric_is_learnt_kept_and_found_again() -> None:
    states = States()
    one = Replica(states, "one")
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(8, 16))
    for number in range(90):
        vector = centres[number % 8] + 0.1 * rng.normal(size=16)
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        one.shared.saw(f"{number:x}", unit, str(number % 8))
    one.shared.forget("0")
    assert one.shared.metric_due()
    await one.shared.take_fit(one.shared.material().fit())
    assert one.shared.metric is not None and not one.shared.metric_due()
    other = Replica(states, "other")
    await other.shared.restore()
    assert other.shared.metric is not None
    assert np.array_equal(other.shared.metric.directions, one.shared.metric.directions)
    assert other.shared.metric_for(17).directions.shape == (17, 17)


def category(name: str, *, seed: int, tenant: str = "acme") -> Replica:
    replica = Replica(States(), name, seed=seed)
    replica.shared = SharedTuner(States(), tenant, name, SETTINGS, origin=name)
    return replica


async def test_a_young_category_starts_from_what_another_one_of_the_tenant_has_learnt() -> None:
    old, young, alone = (category(name, seed=5) for name in ("old", "young", "alone"))
    young.random.seed(6)
    alone.random.seed(6)
    await old.requests(1000)
    young.shared.learn_from([old.shared])
    first = [await replica.requests(130) for replica in (young, alone)]
    assert young.shared.tuner.model is not None and alone.shared.tuner.model is None
    assert first[0] > first[1] == 0
    assert young.shared.error_bound() <= SETTINGS.delta


async def test_nobody_learns_from_another_tenant_or_from_who_knows_less() -> None:
    old = category("old", seed=5)
    await old.requests(1000)
    stranger = category("general", seed=6, tenant="globex")
    stranger.shared.learn_from([old.shared])
    assert stranger.shared.tuner.pooled is None
    young = category("young", seed=6)
    young.shared.learn_from([old.shared])
    assert young.shared.tuner.pooled is old.shared.tuner.model
    old.shared.learn_from([young.shared])
    assert old.shared.tuner.pooled is None
    young.shared.change(TunerSettings(delta=0.1))
    assert young.shared.tuner.pooled is old.shared.tuner.model


@pytest.mark.parametrize("seed", range(4))
async def test_a_category_unlike_the_one_it_starts_from_keeps_its_bound(seed: int) -> None:
    old, young = category("old", seed=5), category("young", seed=seed)
    await old.requests(1000)
    young.shared.learn_from([old.shared])
    errors = 0
    for number in range(1, 1201):
        proposal, wrong = young.proposal()
        # What speaks for an answer there speaks against it here.
        proposal = Proposal("a", 0, 0.9, 2 - proposal.features)
        decision = young.shared.tuner.decide(proposal, young.random.random())
        if decision.verdict is Verdict.SERVE:
            errors += wrong
        else:
            young.shared.learn(decision, wrong)
        if young.shared.fit_due():
            await young.shared.take_fit(young.shared.material().fit())
        assert errors <= SETTINGS.delta * number, f"seed {seed}, request {number}"
