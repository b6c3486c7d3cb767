"""A language model behind the OpenAI chat interface, `POST <base>/chat/completions`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from infermesh_cache.adapters.outbound.json_service import JsonService
from infermesh_common.errors import Unavailable

_MOST_ANSWER_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model says.

    Attributes:
        text: empty when it says nothing; None: what came is no chat completion.
        input_tokens: as the service counts them; 0 where it does not.
        output_tokens: likewise.
    """

    text: str | None
    input_tokens: int
    output_tokens: int


class ChatModel:
    """Asks the model, at temperature 0.

    Args:
        service: has the model.
        model: name that the service knows it by.
        max_tokens: of a reply.
    """

    def __init__(self, service: JsonService, model: str, max_tokens: int) -> None:
        self._service = service
        self._model = model
        self._max_tokens = max_tokens

    async def reply(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """What the model says to the messages.

        Args:
            messages: each with its `role` and `content`.

        Raises:
            InvalidArgument: <NAME>_REQUEST_REFUSED, for example by a filter of the model's.
            Unavailable: as of `JsonService.post`.
            DeadlineExceeded: likewise.
        """
        body = orjson.dumps(
            {
                "model": self._model,
                "messages": list(messages),
                "temperature": 0,
                "max_tokens": self._max_tokens,
            }
        )
        return _read(
            await self._service.post("/chat/completions", body, most_bytes=_MOST_ANSWER_BYTES)
        )

    def malformed(self) -> Unavailable:
        """The error of a reply without a text."""
        return self._service.malformed("is no chat completion")

    async def close(self) -> None:
        """Closes every connection."""
        await self._service.close()


def _read(data: bytes) -> Reply:
    try:
        completion = orjson.loads(data)
        content = completion["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, IndexError, KeyError, TypeError):
        return Reply(None, 0, 0)
    usage = completion.get("usage")
    used = usage if isinstance(usage, dict) else {}
    text = content if isinstance(content, str) else ""
    return Reply(text, _count(used, "prompt_tokens"), _count(used, "completion_tokens"))


def _count(usage: Mapping[str, object], name: str) -> int:
    tokens = usage.get(name)
    return tokens if isinstance(tokens, int) and tokens > 0 else 0
