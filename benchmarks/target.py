"""What is asked of a gateway: where, with which headers, and a body around a question."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

QUESTION = "What is the capital of France?"
_PLACE = "@question@"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Target:
    """An HTTP endpoint on loopback that takes chat completions.

    Attributes:
        port: it listens on.
        model: asked for.
        headers: sent with each request, beside the content type.
        stream: the answer is asked for as server-sent events.
    """

    port: int
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False

    path = "/v1/chat/completions"

    @property
    def all_headers(self) -> dict[str, str]:
        """Headers of each request."""
        return {"content-type": "application/json", **self.headers}

    def around(self) -> tuple[str, str]:
        """The body's text before and after the question."""
        document: dict[str, object] = {"model": self.model}
        if self.stream:
            document["stream"] = True
        document["messages"] = [{"role": "user", "content": _PLACE}]
        before, _, after = json.dumps(document, separators=(",", ":")).partition(_PLACE)
        return before, after

    def body(self, question: str) -> bytes:
        """The body that asks `question`, which must need no escapes in JSON."""
        return question.join(self.around()).encode()


@dataclass(frozen=True)
class Reply:
    """One answer, complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(target: Target, question: str) -> Reply:
    """One request on a connection of its own.

    Raises:
        OSError, http.client.HTTPException: there was no answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", target.path, target.body(question), target.all_headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, response.read())
    finally:
        connection.close()


def answers(target: Target) -> bool:
    """Whether a request is answered with success now."""
    try:
        return ask(target, QUESTION).status == 200
    except (OSError, http.client.HTTPException):
        return False
