"""Hits against errors, as a picture."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def draw(
    file: Path, title: str, delta: float, points: Mapping[str, list[tuple[float, float]]]
) -> None:
    """Writes an SVG.

    Args:
        file: to write.
        title: over it.
        delta: share of wrong answers that is permitted.
        points: (error over all requests, hit rate) of each order, by method.
    """
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for (name, found), marker in zip(points.items(), "osD^", strict=False):
        axes.scatter([p[0] for p in found], [p[1] for p in found], label=name, marker=marker, s=18)
    axes.axvline(delta, color="grey", linestyle="--", linewidth=1, label="delta")
    axes.set_xlabel("wrong answers because of the cache, of all requests")
    axes.set_ylabel("hits, of all requests")
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.set_title(title)
    axes.legend(fontsize=8)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    pyplot.close(figure)
