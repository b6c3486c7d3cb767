"""A remote service that takes and answers JSON over HTTP."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from infermesh_cache.model_settings import HttpModelSettings
from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings, read_secret
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import aiohttp

_KEEP_ALIVE_S = 60
_NOT_ABOUT_THE_REQUEST = frozenset({401, 403, 404, 408, 409, 425, 429})
"""Statuses of a client's error that another request would get as well."""


class JsonService:
    """Posts bodies. Connections are made with the first one.

    Args:
        base_url: up to before the path, for example "https://api.example.com/v1".
        headers: sent with each request, the API key among them.
        dependency: guards the calls; its name is part of errors.
        timeout_ms: longest time of a call, in milliseconds.
        connect_timeout_ms: of it for connecting.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        dependency: Dependency,
        *,
        timeout_ms: int,
        connect_timeout_ms: int,
    ) -> None:
        self._base_url = base_url
        self._headers = {"content-type": "application/json", **headers}
        self._dependency = dependency
        self._timeout_ms = timeout_ms
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._session: aiohttp.ClientSession | None = None
        self._name = dependency.name

    @classmethod
    async def of_model(
        cls,
        name: str,
        settings: HttpModelSettings,
        breaker: BreakerSettings,
        metrics: Metrics,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> "JsonService":
        """The service that has a model.

        Args:
            name: of the dependency, for metrics and errors.
            settings: of the model.
            breaker: when it is left alone.
            metrics: of the process.
            headers: sent with each request besides the API key.

        Raises:
            SettingsError: the file of the API key cannot be read.
        """
        sent = dict(headers)
        if settings.api_key_file is not None:
            sent["authorization"] = f"Bearer {read_secret(settings.api_key_file)}"
        return cls(
            settings.base_url,
            sent,
            await Dependency.create(name, breaker, metrics),
            timeout_ms=settings.timeout_ms,
            connect_timeout_ms=settings.connect_timeout_ms,
        )

    async def post(self, path: str, body: bytes, *, most_bytes: int) -> bytes:
        """The body of the answer.

        Args:
            path: below the base URL, with its slash.
            body: of the request.
            most_bytes: a longer answer is refused.

        Raises:
            InvalidArgument: <NAME>_REQUEST_REFUSED, the service does not take this request.
            Unavailable: <NAME>_SERVICE_REFUSED, it takes none now; <NAME>_ANSWER_MALFORMED, its
                answer is too long; it cannot be reached.
            DeadlineExceeded: it is too slow.
        """
        import aiohttp

        return await self._dependency.call(
            lambda: self._post(path, body, most_bytes),
            timeout_ms=self._timeout_ms,
            failures=(aiohttp.ClientError, OSError, asyncio.IncompleteReadError),
        )

    def malformed(self, what: str) -> Unavailable:
        """The error of an answer that cannot be read.

        Args:
            what: is wrong with it, as the end of a sentence.
        """
        return Unavailable(
            f"{self._name.upper()}_ANSWER_MALFORMED", f"The {self._name} service's answer {what}."
        )

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, path: str, body: bytes, most_bytes: int) -> bytes:
        async with self._connected().post(
            self._base_url + path, data=body, headers=self._headers, allow_redirects=False
        ) as response:
            status = response.status
            if status != 200:
                # Its text may hold the prompt.
                message = f"The {self._name} service answered with status {status}."
                name = self._name.upper()
                if 400 <= status < 500 and status not in _NOT_ABOUT_THE_REQUEST:
                    raise InvalidArgument(f"{name}_REQUEST_REFUSED", message)
                raise Unavailable(f"{name}_SERVICE_REFUSED", message)
            pieces: list[bytes] = []
            size = 0
            async for piece in response.content.iter_any():
                size += len(piece)
                if size > most_bytes:
                    raise self.malformed("is too large")
                pieces.append(piece)
            return b"".join(pieces)

    def _connected(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session
