"""A mesh that runs, wherever it does, and ways to use it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

import openai

import infermesh


class RunningMesh:
    """What every test may use of a mesh.

    Args:
        url: of its Envoy.
        operator_key: of the operator.
        keys: of tenants, by their names; there is one of "demo".
    """

    def __init__(self, url: str, operator_key: str, keys: dict[str, str]) -> None:
        self.url = url
        self.operator_key = operator_key
        self._keys = keys

    def logs(self) -> str:
        """Everything that its services have logged."""
        raise NotImplementedError

    def in_flight(self, service: str) -> int:
        """Calls that a service is answering."""
        raise NotImplementedError

    def apply(self, documents: Sequence[Mapping[str, object]]) -> None:
        """Makes resources."""
        raise NotImplementedError

    def key(self, tenant: str = "demo") -> str:
        return self._keys[tenant]

    def openai(self, tenant: str = "demo", *, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.key(tenant), max_retries=0, timeout=60
        )

    def async_openai(self, *, key: str | None = None) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.key(), max_retries=0, timeout=60
        )

    def client(self, tenant: str | None = None) -> infermesh.Client:
        return infermesh.Client(self.url, self.key(tenant) if tenant else self.operator_key)

    def http(self, method, path, body=None, *, key="demo", headers=None):
        """(status, headers, body): parsed when it is JSON, else text."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            sent["authorization"] = f"Bearer {self.key() if key == 'demo' else key}"
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return self._read(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            return self._read(error.code, error.headers, error.read())

    @staticmethod
    def _read(status, headers, raw):
        lower = {name.lower(): value for name, value in headers.items()}
        if lower.get("content-type", "").startswith("application/json"):
            return status, lower, json.loads(raw)
        return status, lower, raw.decode("utf-8", "replace")
