"""Decides what to do with a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from tools.simulator.anthropic_wire import AnthropicWire
from tools.simulator.bedrock_wire import BedrockWire
from tools.simulator.gemini_wire import GeminiWire
from tools.simulator.openai_wire import CHAT, COMPLETIONS, EMBEDDINGS, OpenAIWire
from tools.simulator.plan import Plan, answer_plan, error_plan, response
from tools.simulator.replay import Recordings
from tools.simulator.rules import Rules
from tools.simulator.script import Rule, Script
from tools.simulator.wire import CREATED, JSON_TYPE, Ask, NotOfTheWire, Problem, Wire

_OPENAI = OpenAIWire()
_ANTHROPIC = AnthropicWire()
_GEMINI = GeminiWire()
_BEDROCK = BedrockWire()
# By the end of the path; an end that contains another one goes before it.
_ENDS: tuple[tuple[str, Wire, str], ...] = (
    ("/chat/completions", _OPENAI, CHAT),
    ("/completions", _OPENAI, COMPLETIONS),
    ("/embeddings", _OPENAI, EMBEDDINGS),
    ("/messages", _ANTHROPIC, "messages"),
    (":generateContent", _GEMINI, "generateContent"),
    (":streamGenerateContent", _GEMINI, "streamGenerateContent"),
    ("/converse", _BEDROCK, "converse"),
    ("/converse-stream", _BEDROCK, "converse-stream"),
)
_MOST_PREPARED = 4096


@dataclass(slots=True)
class Request:
    """An HTTP request.

    Attributes:
        method: such as POST.
        path: as sent, still quoted.
        query: after the question mark.
        raw_headers: as sent.
        body: whole.
    """

    method: str
    path: str
    query: str
    raw_headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str:
        """Its value, "" if there is none; of several the first.

        Args:
            name: in lower case.
        """
        wanted = name.encode("latin-1")
        for found, value in self.raw_headers:
            if found.lower() == wanted:
                return value.decode("latin-1")
        return ""


class Engine:
    """Answers by a script and by recordings.

    Args:
        script: in force.
        recordings: to replay; None: answers are the script's.
    """

    def __init__(self, script: Script, recordings: Recordings | None = None) -> None:
        self._script = script
        self._recordings = recordings
        self._prepared: dict[object, Plan] = {}
        self.rules = Rules(script)

    def respond(self, request: Request) -> Plan | bytes:
        """What to do; bytes are a response that is no request of a model's."""
        if request.method == "GET" and request.path.endswith("/models"):
            return response(200, JSON_TYPE, self._models())
        found = _wire_of(request.path) if request.method == "POST" else None
        if found is None:
            error = _OPENAI.error(Problem(404, f"no {request.method} {request.path} here"))
            return response(404, JSON_TYPE, error.body)
        wire, operation = found
        try:
            body = orjson.loads(request.body)
            if not isinstance(body, dict):
                raise NotOfTheWire("the body is not an object")
            ask = wire.read(operation, request.path, request.query, body)
        except (orjson.JSONDecodeError, NotOfTheWire) as error:
            return error_plan(wire, Problem(400, str(error)))
        rule = None
        if self.rules.any:
            rule = self.rules.rule(wire.name, request.path, ask, request.header)
        return self._plan(wire, ask, rule)

    def _plan(self, wire: Wire, ask: Ask, rule: Rule | None) -> Plan:
        if rule is not None and rule.fault is not None:
            # Not kept: some are large.
            return self._planned(wire, ask, rule)
        # Nothing but a recording depends on the prompt.
        prompt = ask.prompt if self._recordings is not None else None
        key = (wire.name, ask.operation, ask.model, ask.stream, ask.extra, prompt, id(rule))
        plan = self._prepared.get(key)
        if plan is None:
            if len(self._prepared) >= _MOST_PREPARED:
                self._prepared.clear()
            plan = self._prepared[key] = self._planned(wire, ask, rule)
        return plan

    def _planned(self, wire: Wire, ask: Ask, rule: Rule | None) -> Plan:
        rule = rule or Rule()
        answer, correct = rule.answer or self._script.answer, None
        if self._recordings is not None and rule.answer is None:
            recorded = self._recordings.find(ask.prompt, ask.model)
            if recorded is None:
                message = f"The model '{ask.model}' has no record of this prompt"
                return error_plan(wire, Problem(404, message), ask.model, unknown=True)
            answer, correct = recorded.answer, recorded.correct
        latency = rule.latency or self._script.latency
        headers = tuple(rule.headers.items())
        return answer_plan(wire, ask, answer, latency, rule.fault, headers, correct)

    def _models(self) -> bytes:
        models = self._recordings.models if self._recordings else self._script.models
        own = {"object": "model", "created": CREATED, "owned_by": "simulator"}
        return orjson.dumps({"object": "list", "data": [{"id": name, **own} for name in models]})


@lru_cache(maxsize=1024)
def _wire_of(path: str) -> tuple[Wire, str] | None:
    for end, wire, operation in _ENDS:
        if path.endswith(end):
            return wire, operation
    return None
