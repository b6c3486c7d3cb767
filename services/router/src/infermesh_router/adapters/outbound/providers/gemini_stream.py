"""Streams in Gemini's form: each event is a response that holds a piece of the answer."""

from infermesh_router.adapters.outbound.providers.gemini_answer import (
    candidates_of,
    head,
    is_blocked,
    usage_of,
)
from infermesh_router.adapters.outbound.providers.gemini_candidate import Candidate, Piece
from infermesh_router.domain.answer import Chunk, Payload
from infermesh_router.domain.request import JsonObject
from infermesh_router.domain.sse import EventDecoder


class GeminiStream:
    """Implements `AnswerStream`.

    The API has no event that says the answer is whole. It is when every candidate has said why it
    ends and the usage has come, with the same event or a later one; or when the prompt is refused.

    Args:
        max_event_bytes: larger events are refused.
        candidates: how many have been asked for.
    """

    def __init__(self, max_event_bytes: int, candidates: int = 1) -> None:
        self._decoder = EventDecoder(max_event_bytes)
        self._head: dict[str, object] | None = None
        self._candidates: dict[int, Candidate] = {}
        self._wanted = max(candidates, 1)
        self._finished: set[int] = set()
        self.ended = False

    def feed(self, piece: bytes) -> list[Chunk]:
        """See `AnswerStream.feed`."""
        chunks: list[Chunk] = []
        for data in self._decoder.feed(piece):
            chunks += self._read(Payload(data).value)
            if self.ended:
                break
        return chunks

    def _read(self, event: JsonObject) -> list[Chunk]:
        candidates = candidates_of(event)
        if self._head is None:
            self._head = {**head(event), "object": "chat.completion.chunk"}
        begun = self._head
        choices = [self._choice(str(begun["id"]), *candidate) for candidate in candidates]
        usage, blocked = usage_of(event), is_blocked(event) and not candidates
        if blocked:
            refused = Piece(finish="content_filter")
            choices = [_choice(number, refused, []) for number in range(self._wanted)]
        chunks = [Chunk(value={**begun, "choices": choices})] if choices else []
        if blocked or (usage is not None and len(self._finished) >= self._wanted):
            self.ended = True
            chunks.append(Chunk(value={**begun, "choices": [], "usage": usage}))
        return chunks

    def _choice(self, answer_id: str, index: int, value: JsonObject) -> JsonObject:
        candidate = self._candidates.get(index)
        begun = {} if candidate is not None else {"role": "assistant", "content": ""}
        if candidate is None:
            candidate = self._candidates[index] = Candidate(answer_id, index)
        before = candidate.calls
        piece = candidate.read(value)
        if piece.finish is not None:
            self._finished.add(index)
        calls: list[JsonObject] = [
            {"index": before + n, **call} for n, call in enumerate(piece.calls)
        ]
        return _choice(index, piece, calls, **begun)


def _choice(index: int, piece: Piece, calls: list[JsonObject], **begun: str) -> JsonObject:
    delta: dict[str, object] = {**begun, **piece.fields()}
    if calls:
        delta["tool_calls"] = calls
    logprobs = {"logprobs": {"content": piece.logprobs}} if piece.logprobs else {}
    return {"index": index, "delta": delta, **logprobs, "finish_reason": piece.finish}
