"""A soak finds what grows and leaves alone what does not."""

import random
from collections.abc import Callable

import pytest

from benchmarks.soak.samples import EVERY_S, Sample, trend


def samples(
    minutes: float, memory: Callable[[float], float], files: Callable[[float], int] = lambda _: 30
) -> list[Sample]:
    """As they are taken, of a process whose memory (MB) and open files depend on the minute."""
    moments = [number * EVERY_S for number in range(round(minutes * 60 / EVERY_S))]
    return [Sample(at_s, memory(at_s / 60), files(at_s / 60)) for at_s in moments]


def noisy(slope: float, seed: int) -> Callable[[float], float]:
    drawn = random.Random(seed)
    return lambda minute: 100 + slope * minute + drawn.uniform(-0.5, 0.5)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("minutes", [3, 30])
def test_what_does_not_grow_is_no_leak(minutes: float, seed: int) -> None:
    found = trend(samples(minutes, noisy(0, seed)))
    assert not found.leaks_memory and not found.leaks_descriptors


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("minutes", [3, 30])
def test_several_mb_a_minute_are_found_in_any_run(minutes: float, seed: int) -> None:
    assert trend(samples(minutes, noisy(3, seed))).leaks_memory


@pytest.mark.parametrize("seed", range(20))
def test_a_little_more_than_the_bound_is_found_in_a_long_run(seed: int) -> None:
    assert trend(samples(30, noisy(1.1, seed))).leaks_memory
    assert not trend(samples(30, noisy(0.9, seed))).leaks_memory


def test_growth_in_the_warm_up_does_not_count() -> None:
    found = trend(samples(30, lambda minute: 100 + 20 * min(minute, 7)))
    assert found.mb_per_minute == pytest.approx(0, abs=0.05)
    assert found.growth_mb == pytest.approx(0, abs=0.5)


def test_a_line_has_its_slope_and_no_margin() -> None:
    found = trend(samples(10, lambda minute: 50 + 2 * minute))
    assert found.mb_per_minute == pytest.approx(2)
    assert found.margin == pytest.approx(0, abs=1e-6)
    assert found.minutes == pytest.approx(7.4, abs=0.1)


def test_files_that_stay_open_are_found_and_bursts_are_not() -> None:
    leaking = samples(3, lambda _: 100, lambda minute: 30 + round(40 * minute))
    assert trend(leaking).leaks_descriptors
    drawn = random.Random(0)
    bursts = samples(3, lambda _: 100, lambda _: 30 + drawn.choice((0, 0, 2, 50)))
    assert not trend(bursts).leaks_descriptors


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend(samples(0.5, lambda _: 100))
