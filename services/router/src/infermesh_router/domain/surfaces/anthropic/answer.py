"""Answers in OpenAI's chat form, as messages of the Messages wire."""

from infermesh_common.usage import Usage
from infermesh_router.domain.answer import broken
from infermesh_router.domain.request import JsonObject
from infermesh_router.domain.surfaces.chat_answer import (
    Ending,
    Head,
    Spoken,
    ToolCall,
    arguments_of,
    ending_of,
    head_of,
    message_of,
)

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def message(answer: JsonObject, model: str) -> dict[str, object]:
    """A chat completion as a message.

    Args:
        answer: the chat completion.
        model: stands in where the answer names none.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is not a chat completion.
    """
    head, said = head_of(answer), message_of(answer)
    ending = ending_of(answer, said)
    body = opening(head, model)
    body["content"] = _content(head, said, ending)
    body["usage"] = usage(ending.usage)
    return {**body, **stop(ending, refused=bool(said.refusal))}


def opening(head: Head, model: str) -> dict[str, object]:
    """A message of which nothing is there yet."""
    return {
        "id": message_id(head),
        "type": "message",
        "role": "assistant",
        "model": head.model or model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage(None),
    }


def message_id(head: Head) -> str:
    """The provider's id, with the prefix that Anthropic's have."""
    return head.id if head.id.startswith("msg_") else f"msg_{head.id}"


def call_id(head: Head, given: str, number: int) -> str:
    """The id of a call; made up of the answer's where the provider gave none."""
    return given or f"toolu_{head.id}_{number}"


def stop(ending: Ending, *, refused: bool) -> dict[str, object]:
    """`stop_reason` and `stop_sequence`."""
    reason = _STOP_REASONS.get(ending.finish_reason, "end_turn")
    if reason == "end_turn":
        if refused:
            reason = "refusal"
        elif ending.called:
            # Of a call that the request insisted on, OpenAI says "stop".
            reason = "tool_use"
        elif ending.stop_sequence is not None:
            reason = "stop_sequence"
    sequence = ending.stop_sequence if reason == "stop_sequence" else None
    return {"stop_reason": reason, "stop_sequence": sequence}


def usage(used: Usage | None) -> dict[str, object]:
    """Tokens, each in one count. Where the provider reported none, the wire has no word for
    it but 0."""
    used = used or Usage()
    counts: dict[str, object] = {
        "input_tokens": used.input_tokens,
        "cache_creation_input_tokens": used.cache_write_input_tokens,
        "cache_read_input_tokens": used.cached_input_tokens,
        "output_tokens": used.all_output_tokens,
    }
    if used.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": used.reasoning_tokens}
    return counts


def _content(head: Head, said: Spoken, ending: Ending) -> list[dict[str, object]]:
    content = [thought.block() for thought in said.all_thinking()]
    content += [{"type": "text", "text": text} for text in (said.text, said.refusal) if text]
    # A block's number is its place, as in a stream.
    for call in said.calls:
        arguments = arguments_of(call)
        if arguments is None and ending.finish_reason == "length":
            continue  # Cut off: there is no call yet.
        content.append(_tool_use(head, call, arguments, len(content)))
    return content


def _tool_use(
    head: Head, call: ToolCall, arguments: JsonObject | None, number: int
) -> dict[str, object]:
    if not call.name:
        raise broken("a call has no name")
    if arguments is None:
        raise broken("the arguments of a call are not a JSON object")
    return {
        "type": "tool_use",
        "id": call_id(head, call.id, number),
        "name": call.name,
        "input": arguments,
    }
