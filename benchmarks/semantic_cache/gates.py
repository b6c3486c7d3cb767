"""What is to be reached: hits by set and delta, and the bound on every set."""

HITS = {
    ("banking77", 0.01): 0.55,
    ("clinc150", 0.01): 0.48,
    ("qqp_gptcache", 0.01): 0.15,
    ("banking77", 0.02): 0.70,
    ("clinc150", 0.02): 0.60,
    ("qqp_gptcache", 0.02): 0.20,
}
ORDERS_OVER = 0.05
"""Share of orders whose final error may exceed delta."""


def verdicts(name: str, delta: float, hit_rate: float, orders_over: float) -> list[str]:
    """A line for each gate: met, or NOT met."""
    lines = [_line("orders_over_delta", orders_over, "<=", ORDERS_OVER)]
    wanted = HITS.get((name, delta))
    if wanted is not None:
        lines.append(_line("hit_rate", hit_rate, ">=", wanted))
    return lines


def _line(figure: str, value: float, relation: str, wanted: float) -> str:
    met = value <= wanted if relation == "<=" else value >= wanted
    return f"{figure} {value:.3f} {relation} {wanted:g}: {'met' if met else 'NOT met'}"
