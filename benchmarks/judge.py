"""`make bench-judge`: how often does a model take a wrong answer for right when it compares two?

PAIRS=<file> has a JSON object a line: `question`, `left`, `right` (what the answers say) and
`same`, as people judged it. JUDGE_URL, JUDGE_MODEL and JUDGE_KEY_FILE name the model, which is
asked as the cache service asks it. `overlooked_upper` is what a policy with `comparison: judge`
states as `overlooked`: the upper limit, by Clopper and Pearson at 95 %, of the share of pairs that
differ and were taken for the same. Pairs should be drawn from the traffic that the policy is for,
those that differ from near misses: of pairs that have nothing in common it says little.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError
from scipy.stats import binomtest

from benchmarks.report import Figure, report
from infermesh_cache.adapters.outbound.judge import create_judge
from infermesh_cache.application.comparing import JudgeComparer
from infermesh_cache.settings import JudgeSettings
from infermesh_common.errors import InfermeshError
from infermesh_common.settings import BreakerSettings, SettingsError
from infermesh_common.telemetry.metrics import Metrics

_CONFIDENCE = 0.95
_AT_ONCE = 4


class Pair(BaseModel):
    """Two answers to a question, and whether people find them the same."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    question: str
    left: str
    right: str
    same: StrictBool


class NoPairs(Exception):
    """Nothing to judge; says what is wrong with the file."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts beside the truth; None where the judge could not be asked."""

    pairs: Sequence[Pair]
    verdicts: Sequence[bool | None]

    def count(self, same: bool, verdict: bool | None) -> int:
        """Pairs of a truth with a verdict."""
        both = zip(self.pairs, self.verdicts, strict=True)
        return sum(pair.same is same and given is verdict for pair, given in both)

    def figures(self) -> dict[str, Figure]:
        """What is reported; shares are of the pairs that were judged."""
        overlooked, caught = self.count(False, True), self.count(False, False)
        kept, rejected = self.count(True, True), self.count(True, False)
        different = overlooked + caught
        upper = None
        if different:
            test = binomtest(overlooked, different, alternative="less")
            upper = round(float(test.proportion_ci(_CONFIDENCE, method="exact").high), 4)
        return {
            "pairs": len(self.pairs),
            "different": different,
            "overlooked": overlooked / different if different else None,
            "overlooked_upper": upper,
            "rejected_right": rejected / (kept + rejected) if kept + rejected else None,
            "not_judged": sum(verdict is None for verdict in self.verdicts),
        }


def read_pairs(file: Path) -> list[Pair]:
    """The pairs of a file.

    Raises:
        NoPairs: a line is of another form, or there is none.
    """
    pairs = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                pairs.append(Pair.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "line"
                raise NoPairs(f"{file}, line {number}: {where}: {first['msg']}") from error
    if not pairs:
        raise NoPairs(f"{file} holds no pairs")
    return pairs


async def judge_pairs(pairs: Sequence[Pair], settings: JudgeSettings) -> Judged:
    """Asks the judge about each, as the service does.

    Raises:
        SettingsError: its API key cannot be read.
    """
    breaker = BreakerSettings(failure_threshold=1000, open_ms=1000, max_concurrent=_AT_ONCE * 2)
    judge = await create_judge(settings, breaker, Metrics())
    comparer = JudgeComparer(judge)
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(pair: Pair) -> bool | None:
        async with turn:
            try:
                return await comparer.same(body(pair.left), body(pair.right), pair.question)
            except InfermeshError:
                return None

    try:
        return Judged(pairs, await asyncio.gather(*(one(pair) for pair in pairs)))
    finally:
        await judge.close()


def body(text: str) -> bytes:
    """A chat completion that says so."""
    return orjson.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


def main(environment: Mapping[str, str]) -> int:
    """0: it was measured; 2: there is nothing to measure."""
    missing = [name for name in ("PAIRS", "JUDGE_URL", "JUDGE_MODEL") if not environment.get(name)]
    if missing:
        print(f"bench-judge: {', '.join(missing)} is not given", file=sys.stderr)
        return 2
    file = Path(environment["PAIRS"])
    key = environment.get("JUDGE_KEY_FILE")
    try:
        settings = JudgeSettings(
            base_url=environment["JUDGE_URL"],
            model=environment["JUDGE_MODEL"],
            api_key_file=Path(key) if key else None,
        )
        judged = asyncio.run(judge_pairs(read_pairs(file), settings))
    except ValidationError as error:
        print(f"bench-judge: JUDGE_URL: {error.errors()[0]['msg']}", file=sys.stderr)
        return 2
    except (OSError, NoPairs, SettingsError) as error:
        print(f"bench-judge: {error}", file=sys.stderr)
        return 2
    report(
        "judge",
        judged.figures(),
        method=f"{settings.model} compared each pair in both orders; one no is a no. The limit is"
        " one-sided, at 95 %.",
        data=f"{len(judged.pairs)} pairs of {file.name}",
    )
    return 0 if judged.figures()["not_judged"] != len(judged.pairs) else 2


if __name__ == "__main__":
    sys.exit(main(os.environ))
