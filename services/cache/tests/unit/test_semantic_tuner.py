"""What is served follows from what was learnt, and survives a restart."""

import json
import random

import numpy as np
import pytest

from infermesh_cache.domain.semantic.decision import Decision, Reason, Verdict
from infermesh_cache.domain.semantic.drift import DriftAlarm
from infermesh_cache.domain.semantic.error_model import ErrorModel
from infermesh_cache.domain.semantic.examples import Examples
from infermesh_cache.domain.semantic.packing import BadState
from infermesh_cache.domain.semantic.pacing import ErrorPrice
from infermesh_cache.domain.semantic.similarity import FEATURES, Proposal
from infermesh_cache.domain.semantic.tuner import (
    FEWEST_EXAMPLES,
    AdaptiveThresholdTuner,
    TunerSettings,
)

SETTINGS = TunerSettings(delta=0.02)


class World:
    """Proposals of which some are right; how sure one can be shows in their features."""

    def __init__(self, seed: int = 1) -> None:
        self._numbers = np.random.default_rng(seed)
        self._chance = random.Random(seed)
        self.lies = False
        """Whether what looked right is wrong from now on."""

    def proposal(self) -> tuple[Proposal, bool]:
        """One, and whether it is wrong."""
        odds = self._numbers.normal(-2.0, 4.0)
        wrong = bool(self._numbers.random() < 1 / (1 + np.exp(-odds)))
        features = self._numbers.normal(size=len(FEATURES))
        features[:4] = -odds + self._numbers.normal(scale=0.5, size=4)
        return Proposal("answer", 0, 0.9, features), wrong != (self.lies and odds < 0)

    def chance(self) -> float:
        return self._chance.random()


def ask(tuner: AdaptiveThresholdTuner, world: World) -> tuple[Decision, bool]:
    """One request; what is not served is learnt from."""
    proposal, wrong = world.proposal()
    decision = tuner.decide(proposal, world.chance())
    if decision.verdict is not Verdict.SERVE:
        tuner.learn(decision, wrong)
        if tuner.fit_due():
            tuner.fit()
    return decision, wrong


@pytest.fixture(scope="module")
def taught() -> tuple[AdaptiveThresholdTuner, list[tuple[Decision, bool]]]:
    """A tuner after some thousand requests, and what it decided."""
    tuner, world = AdaptiveThresholdTuner(SETTINGS), World()
    return tuner, [ask(tuner, world) for _ in range(4000)]


def test_the_young_serve_nothing(
    taught: tuple[AdaptiveThresholdTuner, list[tuple[Decision, bool]]],
) -> None:
    _, decided = taught
    young = [decision for decision, _ in decided[:FEWEST_EXAMPLES]]
    assert {decision.reason for decision in young} == {Reason.YOUNG}
    assert {decision.verdict for decision in young} == {Verdict.CALL}


def test_hits_come_and_their_errors_stay_within_the_bound_at_every_time(
    taught: tuple[AdaptiveThresholdTuner, list[tuple[Decision, bool]]],
) -> None:
    tuner, decided = taught
    wrong = served = 0
    for number, (decision, is_wrong) in enumerate(decided, 1):
        if decision.verdict is Verdict.SERVE:
            served += 1
            wrong += is_wrong
        assert wrong <= SETTINGS.delta * number
    assert served > 0.2 * len(decided)
    assert wrong <= tuner.certificate.upper_errors()


def test_what_would_be_served_is_looked_into_by_chance_and_rarely(
    taught: tuple[AdaptiveThresholdTuner, list[tuple[Decision, bool]]],
) -> None:
    _, decided = taught
    verdicts = [decision.verdict for decision, _ in decided]
    explored, served = verdicts.count(Verdict.EXPLORE), verdicts.count(Verdict.SERVE)
    assert 0 < explored < 0.2 * (explored + served)
    for decision, _ in decided:
        if decision.verdict is Verdict.EXPLORE:
            assert decision.reason is Reason.CHOSEN_BY_CHANCE
            assert 0 < decision.explored_with < 1


def test_reasons_are_given_for_what_is_refused(
    taught: tuple[AdaptiveThresholdTuner, list[tuple[Decision, bool]]],
) -> None:
    tuner, decided = taught
    assert Reason.TOO_LIKELY_WRONG in {decision.reason for decision, _ in decided}
    (sure,) = [decision for decision, _ in decided if decision.verdict is Verdict.SERVE][-1:]
    again = tuner.decide(sure.proposal, 0.999, worth=lambda probability: False)
    assert again.reason is Reason.NOT_WORTH_IT and again.explored_with == 1


def test_what_is_likelier_wrong_than_right_is_not_served_however_much_is_permitted() -> None:
    tuner, world = AdaptiveThresholdTuner(TunerSettings(delta=0.6)), World(4)
    decided = [ask(tuner, world)[0] for _ in range(1500)]
    served = [decision for decision in decided if decision.verdict is Verdict.SERVE]
    assert len(served) > 500
    assert max(decision.probability_wrong or 0 for decision in served) <= 0.5
    refused = [decision.reason for decision in decided[1000:] if decision.verdict is Verdict.CALL]
    assert set(refused) == {Reason.TOO_LIKELY_WRONG}


def test_a_tuner_continues_after_a_restart_as_if_there_had_been_none() -> None:
    tuner, world = AdaptiveThresholdTuner(SETTINGS), World(2)
    for _ in range(1500):
        ask(tuner, world)
    state = json.loads(json.dumps(tuner.state()))
    again = AdaptiveThresholdTuner.restore(state, SETTINGS)
    for _ in range(100):
        proposal, _ = world.proposal()
        chance = world.chance()
        before, after = tuner.decide(proposal, chance), again.decide(proposal, chance)
        assert (before.verdict, before.reason) == (after.verdict, after.reason)
        assert before.forecast == pytest.approx(after.forecast)


@pytest.mark.parametrize("part", ["certificate", "examples", "model", "price", "alarm", "episode"])
def test_a_state_of_another_form_is_refused(part: str) -> None:
    tuner, world = AdaptiveThresholdTuner(SETTINGS), World(3)
    for _ in range(300):
        ask(tuner, world)
    with pytest.raises(BadState):
        AdaptiveThresholdTuner.restore({**tuner.state(), part: "?"}, SETTINGS)


def test_when_what_looked_right_is_wrong_serving_ends_and_learning_begins_anew() -> None:
    tuner, world = AdaptiveThresholdTuner(TunerSettings(0.02)), World(4)
    for _ in range(3000):
        ask(tuner, world)
    world.lies = True
    drifts = served = wrong = 0
    for _ in range(3000):
        regime = tuner.certificate.evidence.regime
        decision, is_wrong = ask(tuner, world)
        drifts += tuner.certificate.evidence.regime > regime
        if decision.verdict is Verdict.SERVE and not drifts:
            served += 1
            wrong += is_wrong
    assert drifts >= 1
    assert served < 1000, "it went on as before"


def test_a_report_retires_the_entry_and_counts() -> None:
    tuner, world = AdaptiveThresholdTuner(SETTINGS), World(5)
    decisions = [ask(tuner, world)[0] for _ in range(2500)]
    served = [decision for decision in decisions if decision.verdict is Verdict.SERVE]
    before = tuner.certificate.upper_errors()
    assert tuner.report_wrong(served[0]).retire
    assert tuner.certificate.upper_errors() == pytest.approx(before + 1)
    called = [decision for decision in decisions if decision.verdict is Verdict.CALL]
    with pytest.raises(ValueError, match="nothing was served"):
        tuner.report_wrong(called[0])
    with pytest.raises(ValueError, match="not known"):
        tuner.learn(served[0], wrong=False)


def test_a_pool_of_others_gives_a_model_a_start() -> None:
    world = World(6)
    pairs = [world.proposal() for _ in range(800)]
    features = np.array([proposal.features for proposal, _ in pairs])
    wrong = np.array([float(is_wrong) for _, is_wrong in pairs])
    pool = ErrorModel.fit(features, wrong)
    few = ErrorModel.fit(features[:20], wrong[:20])
    helped = ErrorModel.fit(features[:20], wrong[:20], prior=pool)

    def loss(model: ErrorModel) -> float:
        forecasts = [model.probability(each) for each in features]
        return float(np.mean((np.array(forecasts) - wrong) ** 2))

    assert loss(helped) < loss(few)
    assert ErrorModel.restore(pool.state()).probability(features[0]) == pytest.approx(
        pool.probability(features[0])
    )


def test_the_alarm_is_silent_while_forecasts_hold_and_rings_when_they_do_not() -> None:
    drawn = np.random.default_rng(7)
    alarm = DriftAlarm()
    for _ in range(3000):
        probability = float(drawn.uniform(0.001, 0.3))
        alarm.observe(probability, bool(drawn.random() < probability))
        assert not alarm.rings
    assert DriftAlarm.restore(alarm.state()).level == pytest.approx(alarm.level)
    for number in range(100):
        alarm.observe(0.01, True)
        if alarm.rings:
            break
    assert alarm.rings and alarm.suspects and number < 10
    with pytest.raises(BadState):
        DriftAlarm.restore({"statistics": [1.0]})
    with pytest.raises(BadState):
        DriftAlarm.restore({})


def test_a_price_serves_nothing_before_it_is_set_and_is_restored() -> None:
    price = ErrorPrice()
    assert not price.affords(1e-4) and price.forecast == 0
    assert ErrorPrice.restore(price.state()).forecast == 0
    for wrong in ({}, {"recent": [1], "odds": "x"}, {"recent": [10**6], "odds": None}):
        with pytest.raises(BadState):
            ErrorPrice.restore(wrong)


def test_examples_are_bounded_and_counted() -> None:
    examples = Examples(capacity=100)
    for number in range(1000):
        examples.add(np.array([float(number)]), number % 2 == 0)
    assert len(examples) <= 125 and examples.seen == 1000
    features, wrong = examples.arrays()
    assert features[-1, 0] == 999 and wrong[-1] == 0
    assert len(examples.latest(3)) == 3 and len(examples.latest(0)) == 0
    again = Examples.restore(examples.state())
    assert again.seen == 1000 and np.array_equal(again.arrays()[0], features)
    with pytest.raises(BadState):
        Examples.restore({**examples.state(), "wrong": Examples(1).state()["features"]})
