import pytest

from benchmarks.overhead.gates import GATES, Gate, verdicts
from benchmarks.report import Figure

REACHED: dict[str, Figure] = {
    "hit_rps": 2600,
    "echo_rps": 4000,
    "miss_rps": 1300,
    "portkey_rps": 1000,
    "litellm_rps": 80,
    "hit_p50_ms": 0.9,
    "miss_p50_ms": 1.5,
    "portkey_p50_ms": 1.4,
    "mesh_rss_mb": 390,
}


def test_every_gate_is_met_by_figures_that_reach_it() -> None:
    assert [verdict.met for verdict in verdicts(REACHED)] == [True] * len(GATES)


@pytest.mark.parametrize(
    ("figure", "value", "missed"),
    [
        ("portkey_rps", 1100, {("hit_rps", "portkey_rps"), ("miss_rps", "portkey_rps")}),
        ("echo_rps", 4400, {("hit_rps", "echo_rps")}),
        ("litellm_rps", 110, {("miss_rps", "litellm_rps")}),
        ("hit_p50_ms", 1.0, {("hit_p50_ms", "portkey_p50_ms")}),
        ("miss_p50_ms", 1.7, {("miss_p50_ms", "portkey_p50_ms")}),
        ("mesh_rss_mb", 400, {("mesh_rss_mb", "")}),
    ],
)
def test_a_figure_that_does_not_reach_its_gate_misses_exactly_that(
    figure: str, value: float, missed: set[tuple[str, str]]
) -> None:
    judged = verdicts({**REACHED, figure: value})
    assert {(v.gate.figure, v.gate.beside) for v in judged if v.met is False} == missed


@pytest.mark.parametrize("absent", ["hit_rps", "portkey_rps", "mesh_rss_mb"])
def test_a_gate_without_its_figures_is_neither_met_nor_missed(absent: str) -> None:
    judged = verdicts({**REACHED, absent: None})
    of_it = [v for v in judged if absent in (v.gate.figure, v.gate.beside)]
    assert of_it and all(v.met is None and str(v).startswith("not measured") for v in of_it)
    assert all(v.met for v in judged if v not in of_it)


def test_a_verdict_is_printed_with_its_ratio() -> None:
    figures: dict[str, Figure] = {"a_rps": 1500, "b_rps": 1000}
    (met,) = verdicts(figures, [Gate("a_rps", ">=", 1.2, "b_rps")])
    (missed,) = verdicts(figures, [Gate("a_rps", ">=", 2, "b_rps")])
    assert str(met).split(maxsplit=1) == ["met", "a_rps 1,500 >= 1.2 x b_rps 1,000: 1.50 x"]
    assert str(missed).split(maxsplit=2)[:2] == ["NOT", "met"]
