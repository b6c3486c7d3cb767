"""How sure measured accuracies are: what they promise for prompts not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, pvariance

CONFIDENCE = 0.95
RELATIVE_ACCURACY = 0.95
LEAST_CORRECT = 0.75  # quality score 1 + 4 x share correct of 4.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Something measured on some prompts of one task.

    Attributes:
        count: prompts.
        mean: over them.
        variance: between them.
    """

    count: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Sample":
        """The sample of `values`; at least one."""
        mean = fmean(values)
        return cls(len(values), mean, pvariance(values, mean))


@dataclass(frozen=True, slots=True)
class TaskEvidence:
    """What one way to answer a task did on the prompts for fitting.

    Attributes:
        models: that answered, by their number of prompts.
        correct: 1 for a right answer, 0 for a wrong one.
        margin: `correct` less 0.95 x that of the reference, prompt by prompt: at least 0 on average
            is what is wanted. Paired, so prompts hard for both add no uncertainty.
        cost_usd: mean US dollars a prompt.
    """

    models: Mapping[str, int]
    correct: Sample
    margin: Sample
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Promise:
    """What is expected of the traffic to come.

    Attributes:
        cost_usd: mean US dollars a prompt.
        correct: least share correct.
        margin: least margin.
        Both with the stated confidence, each.
    """

    cost_usd: float
    correct: float
    margin: float

    @property
    def kept(self) -> bool:
        """Whether it is good enough."""
        return self.margin >= 0 and self.correct >= LEAST_CORRECT


def promise(parts: Sequence[TaskEvidence], effective_prompts: float) -> Promise:
    """What `parts`, one a task, promise for traffic worth `effective_prompts` prompts.

    Tasks count by their number of prompts, which is their share of the traffic on average.
    """
    total = sum(part.correct.count for part in parts)
    return Promise(
        cost_usd=sum(part.correct.count / total * part.cost_usd for part in parts),
        correct=lower_bound([part.correct for part in parts], effective_prompts),
        margin=lower_bound([part.margin for part in parts], effective_prompts),
    )


def lower_bound(samples: Sequence[Sample], effective_prompts: float) -> float:
    """What the mean over traffic to come will be at least, one-sided, by a normal approximation.

    Two errors add up: that of the fitted means, task by task, and that of the traffic itself, which
    is a sample too, of which prompts and of which tasks.
    """
    total = sum(sample.count for sample in samples)
    mean = sum(sample.count / total * sample.mean for sample in samples)
    fitted = sum((s.count / total) ** 2 * s.variance / s.count for s in samples)
    spread = sum(s.count / total * (s.variance + (s.mean - mean) ** 2) for s in samples)
    return mean - NormalDist().inv_cdf(CONFIDENCE) * sqrt(fitted + spread / effective_prompts)
