"""A reranking model behind a service with the `POST <base>/rerank` interface of Cohere, which Jina,
vLLM and llama.cpp offer too."""

import math
from collections.abc import Sequence

import orjson

from infermesh_cache.adapters.outbound.json_service import JsonService
from infermesh_cache.settings import RerankerSettings
from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics

_HEAD_BYTES = 65_536
_BYTES_PER_PASSAGE = 65_536
"""Some services send each passage back."""


class HttpReranker:
    """Implements `Reranker`.

    Args:
        service: is asked.
        settings: which model, and how much of a passage it reads.
    """

    def __init__(self, service: JsonService, settings: RerankerSettings) -> None:
        self._service = service
        self._settings = settings

    async def scores(self, query: str, passages: Sequence[str]) -> Sequence[float]:
        """See `Reranker.scores`."""
        texts = [text[: self._settings.max_chars] or " " for text in passages]
        body = orjson.dumps(
            {
                "model": self._settings.model,
                "query": query[: self._settings.max_chars],
                "documents": texts,
                "top_n": len(texts),
            }
        )
        limit = _HEAD_BYTES + _BYTES_PER_PASSAGE * len(texts)
        try:
            data = await self._service.post("/rerank", body, most_bytes=limit)
        except InvalidArgument as error:
            # The order of the fusion is better than none.
            raise Unavailable(error.reason, error.message) from error
        try:
            by_place = {
                row["index"]: float(row["relevance_score"]) for row in orjson.loads(data)["results"]
            }
            found = [by_place[place] for place in range(len(texts))]
        except (ValueError, KeyError, TypeError) as error:
            raise self._service.malformed("does not score every passage") from error
        if not all(map(math.isfinite, found)):
            raise self._service.malformed("holds scores that are no numbers")
        return found

    async def close(self) -> None:
        """Closes every connection."""
        await self._service.close()


async def create_reranker(
    settings: RerankerSettings, breaker: BreakerSettings, metrics: Metrics
) -> HttpReranker:
    """The reranker; to be closed by the caller.

    Args:
        settings: which model, and where.
        breaker: when it is left alone.
        metrics: of the process.

    Raises:
        SettingsError: the file of the API key cannot be read.
    """
    service = await JsonService.of_model("reranker", settings, breaker, metrics)
    return HttpReranker(service, settings)
