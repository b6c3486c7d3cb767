"""The semantic workload of `make bench-savings`: a support desk's questions, a premium model.

Questions of banking77 (equal intent: equal answer) arrive as the conversations of Azure's trace of
2023 did, `SPEED` times as fast, each billed for the tokens of its arrival at the reference's price.
They go through the running mesh with the semantic tier on; the ledger says what was spent,
exploration in full.
"""

import csv
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from benchmarks.report import ROOT
from benchmarks.savings.dataset import DatasetError, Price
from benchmarks.semantic_cache.labelled import NoSuchSet, read
from benchmarks.semantic_cache.service import Asked, Through, through_the_mesh

QUESTIONS = "banking77"
ARRIVALS = Path("azure_llm_trace") / "AzureLLMInferenceTrace_conv.csv"
SPEED = 4
"""An hour of the trace in fifteen minutes; what two cores can take."""
DELTA = 0.01
REQUESTS = 8000
CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Arrival:
    """One row of the trace.

    Attributes:
        at_s: seconds from the first one.
        input_tokens, output_tokens: of the request.
    """

    at_s: float
    input_tokens: int
    output_tokens: int


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the sets are."""
    return Path(environment.get("INFERMESH_DATA") or ROOT.parent / "shared" / "data")


def read_arrivals(file: Path, count: int) -> list[Arrival]:
    """The first `count` rows of a trace.

    Raises:
        DatasetError: it is not there.
    """
    if not file.is_file():
        raise DatasetError(f"{file} is not there: set INFERMESH_DATA to the folder of the data")
    arrivals: list[Arrival] = []
    start: datetime | None = None
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            # Seven digits of a second are one more than Python reads.
            time = datetime.fromisoformat(row["TIMESTAMP"][:26])
            start = start or time
            tokens = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            arrivals.append(Arrival((time - start).total_seconds(), *tokens))
            if len(arrivals) == count:
                break
    return arrivals


def workload(data: Path, requests: int, seed: int) -> list[Asked]:
    """Questions in a random order, each with a time and tokens.

    Raises:
        DatasetError: a set is not there.
    """
    try:
        found = read(data / QUESTIONS)
    except NoSuchSet as error:
        raise DatasetError(str(error)) from error
    arrivals = read_arrivals(data / ARRIVALS, requests)
    order = random.Random(seed).sample(range(len(found.texts)), len(arrivals))
    return [
        Asked(
            text=found.texts[position],
            label=f"answer {found.labels[position]}",
            at_s=arrival.at_s / SPEED,
            tokens=(arrival.input_tokens, arrival.output_tokens),
        )
        for position, arrival in zip(order, arrivals, strict=True)
    ]


def baseline_usd(asked: Sequence[Asked], price: Price) -> Decimal:
    """What the reference costs for all of them, without a cache."""
    return sum((price.cost(*one.tokens) for one in asked), Decimal(0))


def figures_of(asked: Sequence[Asked], through: Through, price: Price) -> dict[str, float]:
    """The figures of a run."""
    baseline = baseline_usd(asked, price)
    explored = [one for one, got in zip(asked, through.answers, strict=True) if got.explored]
    labels = {one.label for one in asked}
    return {
        "semantic.savings_ratio": float(1 - through.cost_usd / baseline),
        "semantic.hit_rate": through.share(lambda answer: answer.served),
        "semantic.error_over_all": through.share(lambda answer: answer.wrong),
        "semantic.error_bound_said": through.bound_said(),
        "semantic.exploration_cost_ratio": float(baseline_usd(explored, price) / baseline),
        "semantic.ideal_hit_rate": 1 - len(labels) / len(asked),
        "semantic.requests": len(asked),
        "semantic.requests_per_s": len(asked) / through.seconds,
    }


def run(folder: Path, price: Price, seed: int, requests: int = REQUESTS) -> dict[str, float]:
    """Replays the workload through a mesh with its state in `folder`.

    Raises:
        DatasetError: a set is not there.
        LocalMeshError, NotReady: the mesh does not start.
    """
    asked = workload(data_folder(), requests, seed)
    rates = {"input": f"{price.input:f}", "output": f"{price.output:f}"}
    through = through_the_mesh(folder, asked, DELTA, rates, CONNECTIONS)
    return figures_of(asked, through, price)
