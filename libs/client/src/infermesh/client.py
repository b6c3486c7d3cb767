"""The blocking client."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from infermesh.inference import CacheControl, InferResult, JsonValue, Message
from infermesh.operations import Operations
from infermesh.router.v1 import inference_pb2_grpc
from infermesh.settings import TlsOptions, connection_settings
from infermesh.streams import InferStream
from infermesh.wire.requests import infer_request
from infermesh.wire.responses import infer_result
from infermesh.wire.transport import Transport


class Client(Operations):
    """A mesh, over one channel. Threads may share it; close it once, or use it in a `with` block.

    Args:
        address: "https://host:port", "http://host:port" (plain text) or "host:port" (plain text
            unless `tls` is given).
        api_key: sent with every call; None to send none.
        timeout_s: deadline of a call that names none, in seconds; of a stream, the whole of it.
        max_retries: how often gRPC repeats a call that fails with UNAVAILABLE, 0 to 4. A stream
            is never repeated once a piece has arrived.
        tls: how to verify the mesh.

    Raises:
        InvalidRequestError: an argument makes no sense.
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
        super().__init__(Transport(settings))
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._transport.channel)

    def infer(
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
        """Answers one conversation.

        Args:
            prompt: short for one user turn; either this or `messages`.
            messages: the conversation, as `Message` or as mappings in OpenAI's form.
            model: a model, one of its aliases, or "auto" for the tenant's policy.
            acceptable_models: with "auto", answers of others are not accepted; empty: any.
            task: kind of task, for quality floors by task; empty: "general".
            temperature, top_p, max_tokens, seed, stop: as OpenAI's; None leaves them out.
            cache: what is asked of the caches.
            tags: free labels for the ledger and for invalidation, for example "team=search".
            request_id: UUID4; None: a new one.
            timeout_s: deadline in seconds; None: the client's.
            extra_body: as `parameters`, for names that are known at run time only.
            parameters: further fields of OpenAI's chat request (`tools`, `response_format`, …),
                passed to the provider unchanged.

        Raises:
            InfermeshError: it failed; see its subclasses.
        """
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
        return infer_result(self._transport.call(method, request, timeout_s, request.request_id))

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
    ) -> InferStream:
        """Answers one conversation as it is produced. Arguments are those of `infer`.

        Returns:
            An iterator of the pieces of the text, with the whole answer in `.result` at its end.

        Raises:
            InvalidRequestError: an argument makes no sense. What fails later is raised while the
                stream is read.
        """
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

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
