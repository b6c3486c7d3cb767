"""Sends arrivals through the mesh as applications do: with OpenAI's own client."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import openai

from benchmarks.savings.arrivals import Arrival
from benchmarks.savings.dataset import Dataset
from benchmarks.savings.resources import resource_name
from infermesh_router.domain.request import AUTO

CONNECTIONS = 8
_TIMEOUT_S = 60
_SERVED = ("hit", "shared")


class ReplayError(Exception):
    """An answer did not come or is not the recorded one; says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        model: recorded name of the model that answered.
        cache: what the caches did: "hit", "shared", "miss", "unavailable", ...
        input_tokens, output_tokens: as the answer says.
    """

    model: str
    cache: str
    input_tokens: int
    output_tokens: int

    @property
    def from_cache(self) -> bool:
        """Whether no model was called for it."""
        return self.cache in _SERVED


class Replayer:
    """A client of the mesh.

    Args:
        url: of the mesh, without a path.
        dataset: whose models answer.
    """

    def __init__(self, url: str, dataset: Dataset) -> None:
        self._url = url
        self._recorded = {resource_name(model): model for model in dataset.models}

    async def run(
        self, arrivals: Sequence[Arrival], keys: Sequence[str], model: str = AUTO
    ) -> list[Answer]:
        """One answer for each arrival, which are begun in order, `CONNECTIONS` at once.

        Args:
            arrivals: what is asked.
            keys: API key of each team.
            model: asked for; the choice is the mesh's by default.

        Raises:
            ReplayError: a request failed, or an answer is that of another prompt.
        """
        answers: dict[int, Answer] = {}
        waiting = iter(enumerate(arrivals))
        base = openai.AsyncOpenAI(
            base_url=f"{self._url}/v1", api_key="unused", max_retries=0, timeout=_TIMEOUT_S
        )
        async with base:
            clients = [base.with_options(api_key=key) for key in keys]

            async def work() -> None:
                for number, arrival in waiting:
                    client = clients[arrival.team]
                    answers[number] = await self._ask(client, arrival, model)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(CONNECTIONS):
                        group.create_task(work())
            except ExceptionGroup as failures:
                # The others were cancelled, or failed for the same reason.
                raise failures.exceptions[0] from failures
        return [answers[number] for number in range(len(arrivals))]

    async def _ask(self, client: openai.AsyncOpenAI, arrival: Arrival, model: str) -> Answer:
        row = arrival.row
        try:
            response = await client.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": row.prompt}],
                temperature=0,  # the same question has the same answer
                extra_headers={"x-infermesh-task": row.task},
            )
        except openai.OpenAIError as error:
            raise ReplayError(f"{row.task} {row.id} was not answered: {error}") from error
        completion = response.parse()
        answer = Answer(
            model=self._model(response.headers),
            cache=response.headers.get("x-infermesh-cache", ""),
            input_tokens=completion.usage.prompt_tokens if completion.usage else 0,
            output_tokens=completion.usage.completion_tokens if completion.usage else 0,
        )
        check(arrival, answer)
        return answer

    def _model(self, headers: Mapping[str, str]) -> str:
        named = headers.get("x-infermesh-model", "")
        if named not in self._recorded:
            raise ReplayError(f"an answer came from {named!r}, which is not one of the models")
        return self._recorded[named]


def check(arrival: Arrival, answer: Answer) -> None:
    """Raises ReplayError when the tokens are not those recorded for this prompt and this model."""
    row = arrival.row
    recorded = (row.input_tokens, row.outcomes[answer.model].output_tokens)
    if (answer.input_tokens, answer.output_tokens) != recorded:
        raise ReplayError(
            f"{row.task} {row.id} by {answer.model}: {recorded} tokens are recorded, the answer "
            f"has {(answer.input_tokens, answer.output_tokens)}"
        )
