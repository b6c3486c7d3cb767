"""Conversations in Gemini's form.

The API wants as many results of functions in a turn as the turn before has calls, each with the
function's name, and the signature of a thought where it was given.
"""

import re
from typing import Literal

import orjson

from infermesh_router.adapters.outbound.providers.gemini_parts import (
    PROTOCOL,
    Part,
    invalid,
    parts_of,
    text_of,
)
from infermesh_router.adapters.outbound.providers.parameters import unsupported
from infermesh_router.domain.request import JsonObject

NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that another model has made, or that a client has lost.
Source: Gemini API, "Thought signatures", FAQ."""

_WITHOUT_SIGNATURES = re.compile(r"gemini-[12]\b")

Side = Literal["user", "model"]


class Conversation:
    """Messages as they are translated, one after the other.

    Args:
        model: name the API knows it by: older ones do not ask for signatures.

    Attributes:
        system: what stands outside of the conversation.
    """

    def __init__(self, model: str) -> None:
        self._signed = _WITHOUT_SIGNATURES.search(model) is None
        self._turns: list[tuple[Side, list[Part]]] = []
        self._functions: dict[str, str] = {}
        self.system: list[Part] = []

    def add(self, message: JsonObject, field: str) -> None:
        """Takes the next message in.

        Raises:
            InvalidArgument: UNSUPPORTED_PARAMETER, INVALID_MESSAGES.
        """
        role = message.get("role")
        if role in ("system", "developer"):
            self.system += text_of(message.get("content"), f"{field}.content")
        elif role == "user":
            self._say("user", parts_of(message.get("content"), f"{field}.content"))
        elif role == "tool":
            self._say("user", [self._result(message, field)])
        elif role == "assistant":
            self._say("model", self._answer(message, field))
        else:
            raise unsupported(f"{field}.role", PROTOCOL)

    def contents(self) -> list[dict[str, object]]:
        """The turns; results of functions are a turn of their own."""
        contents: list[dict[str, object]] = []
        for side, parts in self._turns:
            results = [part for part in parts if "functionResponse" in part]
            others = [part for part in parts if "functionResponse" not in part]
            for turn in (results, others):
                if turn:
                    contents.append({"role": side, "parts": turn})
        return contents

    def _say(self, side: Side, parts: list[Part]) -> None:
        if not parts:
            return
        if not self._turns or self._turns[-1][0] != side:
            self._turns.append((side, []))
        self._turns[-1][1].extend(parts)

    def _answer(self, message: JsonObject, field: str) -> list[Part]:
        for name in ("function_call", "audio"):
            if message.get(name) is not None:
                raise unsupported(f"{field}.{name}", PROTOCOL)
        parts = text_of(message.get("content"), f"{field}.content")
        parts += text_of(message.get("refusal"), f"{field}.refusal")
        if (signature := _signature(message)) is not None:
            parts = parts or [{"text": ""}]
            parts[-1]["thoughtSignature"] = signature
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise invalid("'tool_calls' must be a list.", f"{field}.tool_calls")
        made = [self._call(call, f"{field}.tool_calls[{n}]") for n, call in enumerate(calls)]
        if made and self._signed:
            # Of calls that were made at once, only the first has one.
            made[0].setdefault("thoughtSignature", NO_SIGNATURE)
        return parts + made

    def _call(self, call: object, field: str) -> Part:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise invalid("A call of a tool must have a function with a name.", field)
        assert isinstance(call, dict)
        identifier = _id(call.get("id"), f"{field}.id")
        name = self._functions[identifier] = function["name"]
        arguments = _arguments(function.get("arguments"), f"{field}.function.arguments")
        part: Part = {"functionCall": {"id": identifier, "name": name, "args": arguments}}
        if (signature := _signature(call)) is not None:
            part["thoughtSignature"] = signature
        return part

    def _result(self, message: JsonObject, field: str) -> Part:
        identifier = _id(message.get("tool_call_id"), f"{field}.tool_call_id")
        name = self._functions.get(identifier)
        if name is None:
            raise invalid("No call before has the id of this result.", f"{field}.tool_call_id")
        content = parts_of(message.get("content"), f"{field}.content")
        # As it is: taken for JSON, its numbers would become floating-point ones.
        text = "".join(str(part["text"]) for part in content if "text" in part)
        others = [part for part in content if "text" not in part]
        result = {"id": identifier, "name": name, "response": {"output": text}}
        return {"functionResponse": result | ({"parts": others} if others else {})}


def signed(signature: object) -> dict[str, object]:
    """A signature as Google's OpenAI endpoint has it, for a message or a call of a tool; nothing
    when there is none."""
    if not isinstance(signature, str) or not signature:
        return {}
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _signature(holder: JsonObject) -> str | None:
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _arguments(text: object, field: str) -> object:
    if not text:
        return {}
    try:
        value = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise invalid("The arguments of a tool must be a JSON object.", field)
    return value


def _id(value: object, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise invalid("A call of a tool and its result must have the same id.", field)
    return value
