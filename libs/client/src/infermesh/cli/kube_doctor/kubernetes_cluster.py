"""The cluster through its API server, with the `kubernetes` package, which is loaded on demand."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Protocol, cast
from urllib.parse import quote, urlencode

from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from infermesh.cli.kube_doctor.cluster import (
    SECRET,
    Forbidden,
    Kind,
    NoAnswer,
    NotAccepted,
    NotFound,
    Unreachable,
)
from infermesh.cli.kube_doctor.fields import Fields, JsonObject, KubeObject
from infermesh.cli.kube_doctor.last_words import short

_TIMEOUT_S = 10.0
_PAGE = 500
_LOG_LINES = 200
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class _Response(Protocol):
    status: int

    def read(self) -> bytes:
        """The body."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the response."""


class _RawClient(Protocol):
    """What is used of ApiClient: its ready-made calls hide headers and half of the bodies."""

    def param_serialize(
        self, method: str, path: str, *, header_params: dict[str, str], auth_settings: list[str]
    ) -> tuple[str, str, dict[str, str], str | None, list[str]]:
        """A request with credentials: method, URL, headers, body, form."""

    def call_api(
        self, method: str, url: str, header_params: dict[str, str], *, _request_timeout: float
    ) -> _Response:
        """Sends it."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A GET, and what it is in words of a Role."""

    path: str
    verb: str
    resource: str
    namespace: str
    name: str = ""
    accept: str = _JSON


class KubernetesCluster:
    """Implements `Cluster`. Only ever sends GET.

    Args:
        configuration: how to reach the API server.
        timeout_s: of each question, in seconds.
    """

    def __init__(self, configuration: Configuration, timeout_s: float = _TIMEOUT_S) -> None:
        configuration.retries = 0
        self._client = cast(_RawClient, ApiClient(configuration))
        self._host = configuration.host
        self._timeout_s = timeout_s

    def now(self) -> datetime:
        """The time of the API server's answer."""
        response = self._ask(_Question("/version", "get", "/version", ""))
        try:
            return parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return datetime.now(timezone.utc)

    def list(self, kind: Kind, namespace: str, labels: str = "") -> list[KubeObject]:
        """Page by page."""
        found: list[KubeObject] = []
        query = {"limit": str(_PAGE), **({"labelSelector": labels} if labels else {})}
        while True:
            path = f"{_path(kind, namespace)}?{urlencode(query)}"
            page = self._json(_Question(path, "list", kind.resource, namespace))
            found.extend(KubeObject(kind.name, each) for each in _objects(page))
            more = Fields(page).text("metadata.continue")
            if not more:
                return found
            query["continue"] = more

    def get(self, kind: Kind, namespace: str, name: str) -> KubeObject:
        """One object."""
        return self._one(kind, namespace, name, _JSON)

    def metadata(self, kind: Kind, namespace: str, name: str) -> KubeObject:
        """One object, as PartialObjectMetadata."""
        return self._one(kind, namespace, name, _METADATA)

    def secret_text(self, namespace: str, name: str, key: str) -> str:
        """One key of a Secret; the others, which come along, are dropped here."""
        secret = self.get(SECRET, namespace, name)
        encoded = secret.members("data").get(key)
        if encoded is None:
            raise NotFound(f"Secret {name} has no key {key}")
        try:
            return base64.b64decode(encoded.text(), validate=True).decode("utf-8", "replace")
        except binascii.Error:
            return ""

    def log(self, namespace: str, pod: str, container: str, *, previous: bool) -> str:
        """The last lines."""
        query = urlencode(
            {
                "container": container,
                "tailLines": str(_LOG_LINES),
                "previous": "true" if previous else "false",
            }
        )
        path = f"{_path(_PODS, namespace)}/{quote(pod)}/log?{query}"
        question = _Question(path, "get", "pods/log", namespace, accept="*/*")
        return self._ask(question).read().decode("utf-8", "replace")

    def fetch(self, namespace: str, pod: str, port: int, path: str) -> str:
        """Through the proxy of the API server."""
        url = f"{_path(_PODS, namespace)}/{quote(pod)}:{port}/proxy/{path}"
        question = _Question(url, "get", "pods/proxy", namespace, accept="*/*")
        return self._ask(question).read().decode("utf-8", "replace")

    def _one(self, kind: Kind, namespace: str, name: str, accept: str) -> KubeObject:
        path = f"{_path(kind, namespace)}/{quote(name)}"
        question = _Question(path, "get", kind.resource, namespace, name, accept)
        return KubeObject(kind.name, self._json(question))

    def _json(self, question: _Question) -> JsonObject:
        body = self._ask(question).read()
        try:
            parsed: object = json.loads(body)
        except ValueError as error:
            raise Unreachable(f"{self._host} does not answer as an API server does") from error
        if not isinstance(parsed, dict):
            raise Unreachable(f"{self._host} does not answer as an API server does")
        return parsed

    def _ask(self, question: _Question) -> _Response:
        try:
            method, url, headers, _, _ = self._client.param_serialize(
                "GET",
                question.path,
                header_params={"Accept": question.accept},
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(method, url, headers, _request_timeout=self._timeout_s)
            response.read()
        except (ApiException, HTTPError, OSError) as error:
            raise Unreachable(f"{self._host} cannot be reached: {_reason(error)}") from error
        if not 200 <= response.status < 300:
            raise self._failure(response, question)
        return response

    def _failure(
        self, response: _Response, question: _Question
    ) -> NotAccepted | Forbidden | NotFound | NoAnswer:
        match response.status:
            case 401:
                return NotAccepted(f"{self._host} does not accept your credentials")
            case 403:
                return Forbidden(
                    question.verb, question.resource, question.namespace, question.name
                )
            case 404:
                return NotFound(question.path)
        said = short(response.read().decode("utf-8", "replace")) or "no reason given"
        return NoAnswer(f"{question.verb} {question.resource}: {response.status}, {said}")


_PODS = Kind("Pod", "pods")


def _path(kind: Kind, namespace: str) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    where = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"{root}{where}/{kind.plural}"


def _objects(page: JsonObject) -> Iterator[JsonObject]:
    items = page.get("items")
    for each in items if isinstance(items, list) else ():
        if isinstance(each, dict):
            yield each


def _reason(error: Exception) -> str:
    # urllib3 wraps the cause, which says more: "Connection refused".
    cause = getattr(error, "reason", None)
    return short(str(cause) if cause is not None else str(error))
