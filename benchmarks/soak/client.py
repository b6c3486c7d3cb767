"""Asks a mesh on any of its surfaces, and keeps what came back."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

import infermesh
from benchmarks.soak.surfaces import (
    SURFACES,
    Failure,
    NotOfTheSurface,
    Said,
    Surface,
    events_of,
    parsed,
)
from infermesh import AsyncClient, CacheControl, InferResult, InfermeshError

TYPED = "typed"
"""Name of gRPC's own surface beside those of HTTP."""
NAMES = (*(surface.name for surface in SURFACES), TYPED)
_BY_NAME: dict[str, Surface] = {surface.name: surface for surface in SURFACES}
_STATUS_OF: dict[type[InfermeshError], int] = {
    infermesh.InvalidRequestError: 400,
    infermesh.NotFoundError: 404,
    infermesh.ConflictError: 409,
    infermesh.RateLimitError: 429,
    infermesh.UnavailableError: 503,
    infermesh.DeadlineExceededError: 504,
}


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        surface: one of `NAMES`.
        stream: the answer is wanted as it is produced.
        model: asked for.
        text: of the question.
        request_id: a UUID.
        key: API key; for the typed surface the client's own counts.
        tag: for the ledger.
    """

    surface: str
    stream: bool
    model: str
    text: str
    request_id: str
    key: str = field(repr=False)
    tag: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        status: of HTTP; on the typed surface the one that its error stands for.
        said: text, end and error; of a refusal the error only.
        model: that answered, where that is told.
        cache: what the caches did, where that is told.
        took_s: from the sending to the end of the answer.
        headers: of the answer, names in lower case; empty on the typed surface.
    """

    status: int
    said: Said
    model: str
    cache: str
    took_s: float
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether it is an answer, and whole."""
        return self.status == 200 and self.said.ended


class MeshClient:
    """A client of a mesh that tries nothing twice.

    Args:
        url: of the mesh, without a path.
        session: for HTTP.
        typed: clients of the typed surface, by API key; made with `max_retries=0`.
        within_s: a request that takes longer raises TimeoutError.
    """

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        typed: Mapping[str, AsyncClient],
        within_s: float,
    ) -> None:
        self._url = url
        self._session = session
        self._typed = typed
        self._within_s = within_s

    async def ask(self, question: Question, cache: str = "") -> Reply:
        """The reply to a question.

        Args:
            question: to ask.
            cache: "bypass", or nothing.

        Raises:
            NotOfTheSurface: it is not in the form of its surface.
            TimeoutError: it took too long.
            aiohttp.ClientError: the connection failed.
        """
        began_s = time.monotonic()
        async with asyncio.timeout(self._within_s):
            if question.surface == TYPED:
                return await self._typed_reply(question, cache, began_s)
            return await self._http_reply(question, cache, began_s)

    async def _http_reply(self, question: Question, cache: str, began_s: float) -> Reply:
        surface = _BY_NAME[question.surface]
        headers = {
            "authorization": f"Bearer {question.key}",
            "x-request-id": question.request_id,
            "x-infermesh-tags": question.tag,
            **({"x-infermesh-cache": cache} if cache else {}),
        }
        body = surface.body(question.model, question.text, stream=question.stream)
        url = self._url + surface.path
        async with self._session.post(url, json=body, headers=headers) as response:
            data = await response.read()
            found = {name.lower(): value for name, value in response.headers.items()}
            if found.get("x-request-id") != question.request_id:
                raise NotOfTheSurface(f"the id of another request: {found.get('x-request-id')}")
            return Reply(
                response.status,
                _said(surface, question.stream, response.status, data),
                found.get("x-infermesh-model", ""),
                found.get("x-infermesh-cache", ""),
                time.monotonic() - began_s,
                found,
            )

    async def _typed_reply(self, question: Question, cache: str, began_s: float) -> Reply:
        client = self._typed[question.key]
        control = CacheControl(bypass=cache == "bypass") if cache else None
        pieces: list[str] = []
        try:
            if question.stream:
                async with client.infer_stream(
                    question.text,
                    model=question.model,
                    tags=[question.tag],
                    request_id=question.request_id,
                    cache=control,
                ) as stream:
                    async for piece in stream:
                        pieces.append(piece)
                    result = stream.result
            else:
                result = await client.infer(
                    question.text,
                    model=question.model,
                    tags=[question.tag],
                    request_id=question.request_id,
                    cache=control,
                )
                pieces.append(result.text)
        except InfermeshError as error:
            failure = Failure(error.reason.lower(), error.message)
            status = 200 if pieces else _STATUS_OF.get(type(error), 500)
            said = Said("".join(pieces), False, failure)
            return Reply(status, said, "", "", time.monotonic() - began_s)
        return _typed_reply(result, "".join(pieces), time.monotonic() - began_s)


def _typed_reply(result: InferResult, text: str, took_s: float) -> Reply:
    if result.text != text:
        raise NotOfTheSurface("the result is not what its pieces amount to")
    decision = result.decision
    return Reply(200, Said(text, True), decision.model, decision.cache_status.value, took_s)


def _said(surface: Surface, stream: bool, status: int, data: bytes) -> Said:
    if status != 200:
        return Said("", False, surface.failure(parsed(data)))
    if stream:
        try:
            return surface.streamed(events_of(data.decode()))
        except UnicodeDecodeError as error:
            raise NotOfTheSurface(f"not UTF-8: {error}") from error
    return Said(surface.whole(parsed(data)), True)
