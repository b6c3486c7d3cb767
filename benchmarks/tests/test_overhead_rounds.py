import json

import pytest

from benchmarks.load import LoadError
from benchmarks.open_loop import Latencies
from benchmarks.overhead.contenders import Contender, Reaches, content
from benchmarks.overhead.measure import Unfit, check_reach
from benchmarks.overhead.rounds import Rounds
from benchmarks.target import Reply, Target

TARGET = Target(1, "fixed")
HIT = Contender("hit", TARGET, Reaches.NEVER, median=True, tail=True)
MISS = Contender("miss", TARGET, Reaches.EACH)


class FakeMeter:
    """Gives numbers in order; fails for one contender from a given call on."""

    def __init__(self, failing: str = "", after: int = 0) -> None:
        self.failing, self.after = failing, after
        self.asked: list[tuple[str, str]] = []
        self.rates: list[float] = []
        self._next = 0.0

    def throughput(self, contender: Contender, seconds: int | None = None) -> float:
        return self._number("rps", contender)

    def median(self, contender: Contender) -> float:
        return self._number("p50", contender)

    def tail(self, contender: Contender, rate: float) -> Latencies:
        self.rates.append(rate)
        return Latencies([self._number("tail", contender)], [0.5], 1)

    def _number(self, kind: str, contender: Contender) -> float:
        self.asked.append((kind, contender.name))
        seen = sum(1 for _, name in self.asked if name == contender.name)
        if contender.name == self.failing and seen > self.after:
            raise LoadError("requests failed")
        self._next += 1
        return self._next


def run(meter: FakeMeter, rounds: int = 3) -> Rounds:
    made = Rounds(meter, [HIT, MISS], lambda line: None)
    made.run(rounds)
    return made


def test_there_is_one_sample_a_round_and_none_of_the_warm_up() -> None:
    outcome = run(FakeMeter()).outcome
    assert {name: len(values) for name, values in outcome.samples.items()} == {
        "hit_rps": 3,
        "miss_rps": 3,
        "hit_p50_ms": 3,
        "hit_p99_ms": 3,
    }
    assert 1 not in outcome.samples["hit_rps"]


def test_rounds_do_not_always_begin_with_the_same_contender() -> None:
    meter = FakeMeter()
    run(meter, rounds=2)
    order = [name for kind, name in meter.asked if kind == "rps"]
    assert order == ["hit", "miss"] + ["hit", "miss"] + ["miss", "hit"]


def test_tails_are_measured_at_half_of_the_median_throughput() -> None:
    meter = FakeMeter()
    outcome = run(meter).outcome
    saturation = outcome.median("hit_rps")
    assert saturation is not None
    assert meter.rates == [saturation / 2] * 3


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_contender_that_fails_has_no_figure_and_the_others_all(after: int) -> None:
    outcome = run(FakeMeter("miss", after)).outcome
    assert outcome.faults == {"miss": "requests failed"}
    assert outcome.median("miss_rps") is None
    assert len(outcome.samples["hit_rps"]) == 3


@pytest.mark.parametrize("seen", [100, 103, 116])
def test_misses_may_exceed_the_answers_only_by_what_was_cut_off(seen: int) -> None:
    check_reach(MISS, seen, completed=100, cut_off=16)


@pytest.mark.parametrize("seen", [0, 99, 117])
def test_misses_that_did_not_reach_the_upstream_are_found(seen: int) -> None:
    with pytest.raises(Unfit):
        check_reach(MISS, seen, completed=100, cut_off=16)


def test_one_hit_that_reached_the_upstream_is_found() -> None:
    check_reach(HIT, 0, completed=100, cut_off=16)
    with pytest.raises(Unfit):
        check_reach(HIT, 1, completed=100, cut_off=16)


def sse(*events: str) -> Reply:
    return Reply(200, {}, "".join(f"data: {event}\n\n" for event in events).encode())


def chunk(*texts: str | None) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}} for text in texts]})


def test_the_content_of_an_answer_and_of_its_stream_is_the_same_text() -> None:
    whole = {"choices": [{"message": {"role": "assistant", "content": "Paris."}}]}
    reply = Reply(200, {}, json.dumps(whole).encode())
    stream = sse(chunk(""), chunk("Pa"), chunk("ris."), chunk(None), chunk(), "[DONE]")
    assert content(reply, stream=False) == content(stream, stream=True) == "Paris."


@pytest.mark.parametrize("reply", [sse(chunk("Paris.")), sse(), Reply(200, {}, b"")])
def test_a_stream_without_its_end_is_found(reply: Reply) -> None:
    with pytest.raises(ValueError, match="does not end"):
        content(reply, stream=True)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"error": {"message": "no"}}', b"<html>"])
def test_what_is_no_completion_is_found(body: bytes) -> None:
    with pytest.raises(ValueError):
        content(Reply(200, {}, body), stream=False)
