"""One inference over `google.api.HttpBody`, whatever wire its client speaks."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import grpc
import orjson
from google.api import httpbody_pb2

from infermesh_common.context import RequestContext
from infermesh_common.errors import InvalidArgument
from infermesh_common.rpc.pipeline import map_error
from infermesh_router.adapters.decision_proto import decision_headers
from infermesh_router.adapters.inbound.request_memo import ReadRequest, RequestKey, RequestMemo
from infermesh_router.application.inference_optimizer import InferenceOptimizer, Part, Started
from infermesh_router.domain.answer import Answer
from infermesh_router.domain.cache_control import HEADER, parse_cache_control
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.request import CacheControl, InferenceRequest, JsonObject
from infermesh_router.domain.surfaces.wire import AnswerWriter, Wire

JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"
_TASK, _TAGS = "x-infermesh-task", "x-infermesh-tags"
# What a request is read from besides its body.
_HEADERS = (_TASK, _TAGS, HEADER)
_MEMO_BYTES = 8 * 1024 * 1024
# What nests deeper is refused by the encoder, and answers may quote a request a little deeper.
_SPARE_LEVELS = 8
_MANY_LEVELS = 200
Context = grpc.aio.ServicerContext[httpbody_pb2.HttpBody, httpbody_pb2.HttpBody]


class HttpBodies:
    """HTTP bodies to the use case and back.

    Args:
        optimizer: the use case.
        max_request_bytes: larger bodies are refused.
    """

    def __init__(self, optimizer: InferenceOptimizer, *, max_request_bytes: int) -> None:
        self._optimizer = optimizer
        self._max_request_bytes = max_request_bytes
        self._memo = RequestMemo(_MEMO_BYTES)

    async def serve(
        self, wire: Wire, request: httpbody_pb2.HttpBody, call: RequestContext, context: Context
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        """The answer to `request`: one body, or server-sent events.

        Raises:
            InfermeshError: after a last event that tells of it, when the stream had begun.
        """
        headers = tuple(call.metadata.get(name, "") for name in _HEADERS)
        key = RequestKey(wire.name, call.caller().tenant, request.data, headers)
        read = self._memo.read(key, lambda: self._read(wire, request.data, call.metadata))
        inference = read.inference
        decision = Decision(call.request_id)
        writer = wire.writer(read.body)
        content_type = _EVENTS if inference.stream else JSON
        parts = self._optimizer.infer(inference, call.caller(), decision)
        started = False
        async with aclosing(parts):
            try:
                async for part in parts:
                    if isinstance(part, Started):
                        # Only now, after every refusal: metadata sent earlier would turn an
                        # error's metadata into trailers, which an HTTP/1.1 client never sees.
                        await context.send_initial_metadata(decision_headers(decision))
                        started = True
                    elif data := _written(writer, part):
                        yield httpbody_pb2.HttpBody(content_type=content_type, data=data)
                if inference.stream:
                    yield httpbody_pb2.HttpBody(content_type=content_type, data=writer.end())
            except Exception as error:
                if not (started and inference.stream):
                    raise
                mapped = map_error(call, error)
                data = writer.failure(mapped)
                yield httpbody_pb2.HttpBody(content_type=content_type, data=data)
                raise mapped from error

    def _read(self, wire: Wire, data: bytes, metadata: Mapping[str, str]) -> ReadRequest:
        body = self._parse(data)
        asked = wire.read(body)
        _check_depth(data, asked.body)
        inference = InferenceRequest(
            surface=wire.surface,
            wire=wire.name,
            body=asked.body,
            model=asked.model,
            stream=asked.stream,
            task=task_of(metadata),
            tags=_tags(metadata),
            cache=_cache_control(metadata),
        )
        return ReadRequest(body, inference)

    def _parse(self, data: bytes) -> JsonObject:
        if len(data) > self._max_request_bytes:
            raise self.too_large()
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InvalidArgument(
                "INVALID_JSON", f"The body is not valid JSON: {error.msg}."
            ) from error
        if not isinstance(body, dict):
            raise InvalidArgument("INVALID_JSON", "The body must be a JSON object.")
        return body

    def too_large(self) -> InvalidArgument:
        """The refusal of a body beyond the limit."""
        return InvalidArgument(
            "REQUEST_TOO_LARGE", f"The body is larger than {self._max_request_bytes} bytes."
        )


def _check_depth(data: bytes, body: JsonObject) -> None:
    """Whether `body`, which was made of `data`, can be written as JSON again.

    Raises:
        InvalidArgument: REQUEST_NOT_CANONICAL.
    """
    if data.count(b"[") + data.count(b"{") < _MANY_LEVELS:
        return
    wrapped: object = body
    for _ in range(_SPARE_LEVELS):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except TypeError as error:
        raise InvalidArgument(
            "REQUEST_NOT_CANONICAL", "The request is nested too deeply."
        ) from error


def _written(writer: AnswerWriter, part: Part) -> bytes:
    assert not isinstance(part, Started)
    return writer.whole(part) if isinstance(part, Answer) else writer.chunks(part)


def task_of(metadata: Mapping[str, str]) -> str:
    """The kind of task named in the `x-infermesh-task` header.

    Raises:
        InvalidArgument: INVALID_TASK.
    """
    return check_task(metadata.get(_TASK, ""))


def check_task(task: str) -> str:
    """`task`, "general" when empty.

    Raises:
        InvalidArgument: INVALID_TASK, it is not a short name.
    """
    if len(task) > 64 or not task.isprintable():
        raise InvalidArgument("INVALID_TASK", "A task is a name of at most 64 characters.")
    return task or "general"


def _tags(metadata: Mapping[str, str]) -> tuple[str, ...]:
    header = metadata.get(_TAGS, "")
    return tuple(dict.fromkeys(filter(None, (tag.strip() for tag in header.split(",")))))


def _cache_control(metadata: Mapping[str, str]) -> CacheControl:
    header = metadata.get(HEADER)
    return CacheControl() if header is None else parse_cache_control(header)
