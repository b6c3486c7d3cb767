"""Answers in OpenAI's chat form, as response objects."""

from collections.abc import Sequence
from dataclasses import dataclass

from infermesh_common.usage import Usage
from infermesh_router.domain.answer import broken
from infermesh_router.domain.request import JsonObject
from infermesh_router.domain.surfaces.chat_answer import (
    Ending,
    Head,
    Spoken,
    Thinking,
    ToolCall,
    ending_of,
    head_of,
    message_of,
)
from infermesh_router.domain.surfaces.responses.reasoning import ENCRYPTED, sealed

JsonItem = dict[str, object]
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Of the request, as it was asked; the rest as the protocol has it by default.
_DEFAULTS: JsonItem = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "user": None,
}
_FIXED: JsonItem = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "object": "response",
    "previous_response_id": None,
    "store": False,
    "truncation": "disabled",
}


class ResponseObject:
    """Makes the response object of one request, at each of its stages.

    Args:
        body: the request.
        model: stands in where the answer names none.
    """

    def __init__(self, body: JsonObject, model: str) -> None:
        self._body = body
        self._model = model
        include = body.get("include")
        self._seals = isinstance(include, list) and ENCRYPTED in include

    def at(
        self, status: str, head: Head, output: Sequence[JsonItem], **more: object
    ) -> dict[str, object]:
        """The object with a status, for example "in_progress"."""
        asked = {
            name: default if (given := self._body.get(name)) is None else given
            for name, default in _DEFAULTS.items()
        }
        return {
            "id": response_id(head),
            "created_at": head.created,
            "status": status,
            "model": head.model or self._model,
            "output": list(output),
            "usage": None,
            **_FIXED,
            **asked,
            **more,
        }

    def ended(self, head: Head, output: Sequence[JsonItem], ending: Ending) -> dict[str, object]:
        """The object of an answer that is whole."""
        reason = _INCOMPLETE.get(ending.finish_reason)
        details = {"reason": reason} if reason else None
        return self.at(
            status_of(ending), head, output, usage=usage(ending.usage), incomplete_details=details
        )

    def whole(self, answer: JsonObject) -> dict[str, object]:
        """A chat completion as a response.

        Raises:
            Unavailable: PROVIDER_STREAM_BROKEN, it is not a chat completion.
        """
        head, said = head_of(answer), message_of(answer)
        ending = ending_of(answer, said)
        return self.ended(head, self._output(head, said, status_of(ending)), ending)

    def reasoning_item(self, key: "ItemKey", thought: Thinking) -> JsonItem:
        """Reasoning as an item."""
        content = [{"type": "reasoning_text", "text": thought.text}] if thought.text else []
        item: JsonItem = {
            "id": key.id("rs"),
            "type": "reasoning",
            "summary": [],
            "content": content,
        }
        if self._seals and (seal := sealed(thought)) is not None:
            item["encrypted_content"] = seal
        return item

    def _output(self, head: Head, said: Spoken, status: str) -> list[JsonItem]:
        output: list[JsonItem] = []
        for thought in said.all_thinking():
            output.append(self.reasoning_item(ItemKey(head, len(output)), thought))
        for part in (text_part(said.text), refusal_part(said.refusal)):
            if part.get("text") or part.get("refusal"):
                output.append(message_item(ItemKey(head, len(output)), [part], "completed"))
        for call in said.calls:
            output.append(call_item(ItemKey(head, len(output)), call, "completed"))
        if output and output[-1]["type"] != "reasoning":
            output[-1]["status"] = status
        return output


@dataclass(frozen=True, slots=True)
class ItemKey:
    """Where an item of an answer stands; its id is made of that."""

    head: Head
    number: int

    def id(self, prefix: str) -> str:
        """The id of the item, for example of a message ("msg")."""
        return f"{prefix}_{self.head.id.removeprefix('chatcmpl-')}_{self.number}"


def response_id(head: Head) -> str:
    """The provider's id, with the prefix that OpenAI's have."""
    return f"resp_{head.id.removeprefix('chatcmpl-')}"


def status_of(ending: Ending) -> str:
    """Whether the model came to an end by itself."""
    return "incomplete" if ending.finish_reason in _INCOMPLETE else "completed"


def text_part(text: str) -> JsonItem:
    """Text in a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> JsonItem:
    """A refusal in a message."""
    return {"type": "refusal", "refusal": text}


def message_item(key: ItemKey, content: Sequence[JsonItem], status: str) -> JsonItem:
    """A message as an item."""
    return {
        "id": key.id("msg"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(content),
    }


def call_item(key: ItemKey, call: ToolCall, status: str) -> JsonItem:
    """A call of a tool as an item.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it has no name.
    """
    if not call.name:
        raise broken("a call has no name")
    return {
        "id": key.id("fc"),
        "type": "function_call",
        "call_id": call.id or key.id("call"),
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    }


def usage(used: Usage | None) -> dict[str, object] | None:
    """Tokens; details are parts of their sums. None when the provider reported none."""
    if used is None:
        return None
    return {
        "input_tokens": used.all_input_tokens,
        "input_tokens_details": {
            "cached_tokens": used.cached_input_tokens,
            "cache_write_tokens": used.cache_write_input_tokens,
        },
        "output_tokens": used.all_output_tokens,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.total_tokens,
    }
