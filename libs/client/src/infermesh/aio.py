"""The asyncio client."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

from infermesh.inference import CacheControl, InferResult, JsonValue, Message
from infermesh.aio_operations import AsyncOperations
from infermesh.router.v1 import inference_pb2_grpc
from infermesh.settings import TlsOptions, connection_settings
from infermesh.streams import AsyncInferStream
from infermesh.wire.requests import infer_request
from infermesh.wire.responses import infer_result
from infermesh.wire.transport import AsyncTransport


class AsyncClient(AsyncOperations):
    """A mesh, over one channel, for the event loop of its first call.

    Close it once, or use it in an `async with` block. Arguments and errors are those of `Client`.
    """

    def __init__(
        self,
        address: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 60,
        max_retries: int = 2,
        tls: TlsOptions | None = None,
    ) -> None:
        settings = connection_settings(
            address, api_key, timeout_s=timeout_s, max_retries=max_retries, tls=tls
        )
        super().__init__(AsyncTransport(settings))

    @cached_property
    def _inference(self) -> "inference_pb2_grpc.InferenceServiceAsyncStub":
        return inference_pb2_grpc.InferenceServiceStub(self._transport.channel)

    async def infer(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message | Mapping[str, JsonValue]] | None = None,
        model: str = "auto",
        acceptable_models: Sequence[str] = (),
        task: str = "",
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        cache: CacheControl | None = None,
        tags: Sequence[str] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
        extra_body: Mapping[str, JsonValue] | None = None,
        **parameters: JsonValue,
    ) -> InferResult:
        """Answers one conversation; as `Client.infer`."""
        request = infer_request(
            prompt=prompt,
            messages=messages,
            model=model,
            acceptable_models=acceptable_models,
            task=task,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            stop=stop,
            cache=cache,
            tags=tags,
            request_id=request_id,
            parameters={**parameters, **(extra_body or {})},
        )
        method = self._inference.Infer
        response = await self._transport.call(method, request, timeout_s, request.request_id)
        return infer_result(response)

    def infer_stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message | Mapping[str, JsonValue]] | None = None,
        model: str = "auto",
        acceptable_models: Sequence[str] = (),
        task: str = "",
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        cache: CacheControl | None = None,
        tags: Sequence[str] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
        extra_body: Mapping[str, JsonValue] | None = None,
        **parameters: JsonValue,
    ) -> AsyncInferStream:
        """Answers one conversation as it is produced; as `Client.infer_stream`."""
        request = infer_request(
            prompt=prompt,
            messages=messages,
            model=model,
            acceptable_models=acceptable_models,
            task=task,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            stop=stop,
            cache=cache,
            tags=tags,
            request_id=request_id,
            parameters={**parameters, **(extra_body or {})},
        )
        return self._transport.stream(self._inference.InferStream, request, timeout_s)

    @property
    def address(self) -> str:
        """host:port of the mesh."""
        return self._transport.address

    async def aclose(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
