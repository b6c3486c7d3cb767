"""What the benchmark of lookups computes."""

import numpy as np

from benchmarks.cache_latency.__main__ import figures_of, gates
from benchmarks.cache_latency.questions import perturbed
from benchmarks.cache_latency.vectors import LIMIT, AtSize, Nearest, chunks
from infermesh_cache.semantic_ports import Floats


def units(count: int, seed: int) -> Floats:
    made = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def test_the_running_ten_nearest_are_those_of_one_exact_search() -> None:
    queries, stored = units(5, 1), units(300, 2)
    nearest = Nearest(queries)
    for first in range(0, 300, 70):
        nearest.see(stored[first : first + 70], first)
    for number, query in enumerate(queries):
        assert nearest.of(number) == set(np.argsort(-(stored @ query))[:LIMIT].tolist())


def test_made_vectors_are_units_near_their_question_and_the_same_for_a_seed() -> None:
    base = units(100, 3)
    [(made, chosen)] = perturbed(base, 500, 4)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    own = np.einsum("ij,ij->i", made, base[chosen])
    other = np.einsum("ij,ij->i", made, base[(chosen + 50) % 100])
    assert own.mean() > other.mean() + 0.3
    [(again, _)] = perturbed(base, 500, 4)
    assert np.array_equal(made, again)


def test_chunks_end_at_the_sizes() -> None:
    total, ends = 0, []
    for made, _ in chunks(units(50, 5), [30, 100], 6):
        total += len(made)
        ends.append(total)
    assert ends == [30, 100]


def at_size(total_ms: float, recall: float) -> AtSize:
    return AtSize([total_ms / 2] * 20, [total_ms / 2] * 20, [total_ms] * 20, recall, 2000, 500)


def test_a_gate_that_is_not_met_is_said_to_be_not_met() -> None:
    tier1 = {10: [1.0], 1000: [1.0]}
    good = figures_of(tier1, {10: at_size(20, 1.0), 1000: at_size(30, 0.99)})
    assert good["tier2_p95_ms"] == 30 and good["growth"] == 1.5 and good["recall_at_10"] == 0.99
    assert all(line.startswith("met") for line in gates(good))
    bad = figures_of(tier1, {10: at_size(20, 1.0), 1000: at_size(61, 0.97)})
    assert [line[:7] for line in gates(bad)] == ["NOT MET"] * 3
