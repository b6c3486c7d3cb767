"""Input of the Responses wire, as messages of OpenAI's chat form."""

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.surfaces.fields import Fields, unsupported, wrong
from infermesh_router.domain.surfaces.responses.reasoning import thoughts_in

JsonPart = dict[str, object]
# Developer is what newer models of OpenAI call system; older ones and other providers do not.
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_DETAILS = ("auto", "low", "high", "original")


def chat_messages(fields: Fields) -> list[dict[str, object]]:
    """`instructions` and `input` as messages of chat.

    Raises:
        InvalidArgument: names the field.
    """
    conversation = _Conversation()
    if instructions := fields.text("instructions"):
        conversation.add({"role": "system", "content": instructions})
    given = fields.need("input")
    if isinstance(given, str):
        conversation.add({"role": "user", "content": given})
    elif isinstance(given, list):
        for item in fields.objects("input"):
            _add_item(conversation, item)
    else:
        raise wrong("input", "a string or a list of items")
    messages = conversation.end()
    if not given or not messages:
        raise InvalidArgument("INVALID_INPUT", "'input' must not be empty.", field="input")
    return messages


class _Conversation:
    """Puts items together that are one message in chat: reasoning, a text and calls of tools."""

    def __init__(self) -> None:
        self._messages: list[dict[str, object]] = []
        self._turn: dict[str, object] = {}

    def add(self, message: dict[str, object]) -> None:
        """A message of its own."""
        self._end_turn()
        self._messages.append(message)

    def say(self, content: object) -> None:
        """A text of the assistant."""
        if "content" in self._turn:
            self._end_turn()
        self._turn["content"] = content

    def think(self, text: str, blocks: list[dict[str, object]]) -> None:
        """Reasoning of the assistant; it begins a turn."""
        if "content" in self._turn or "tool_calls" in self._turn:
            self._end_turn()
        if text:
            self._turn["reasoning_content"] = f"{self._turn.get('reasoning_content', '')}{text}"
        if blocks:
            known = self._turn.setdefault("thinking_blocks", [])
            assert isinstance(known, list)
            known += blocks

    def call(self, call: dict[str, object]) -> None:
        """A call of a tool."""
        calls = self._turn.setdefault("tool_calls", [])
        assert isinstance(calls, list)
        calls.append(call)

    def end(self) -> list[dict[str, object]]:
        """Every message."""
        self._end_turn()
        return self._messages

    def _end_turn(self) -> None:
        # Reasoning that led to nothing tells nobody anything.
        if "content" in self._turn or "tool_calls" in self._turn:
            self._messages.append({"role": "assistant", "content": None, **self._turn})
        self._turn = {}


def _add_item(conversation: _Conversation, item: Fields) -> None:
    kind = item.text("type") or ("message" if item.has("role") else "")
    if kind == "message":
        role = item.need_text("role")
        if role not in _ROLES:
            raise wrong(item.path("role"), "one of " + ", ".join(sorted(_ROLES)))
        content = _content(item, "content")
        if role == "assistant":
            conversation.say(content)
        else:
            conversation.add({"role": _ROLES[role], "content": content})
    elif kind == "function_call":
        function = {"name": item.need_name("name"), "arguments": item.need_text("arguments")}
        call_id = item.need_name("call_id")
        conversation.call({"id": call_id, "type": "function", "function": function})
    elif kind == "function_call_output":
        call_id = item.need_name("call_id")
        content = _content(item, "output")
        conversation.add({"role": "tool", "tool_call_id": call_id, "content": content})
    elif kind == "reasoning":
        conversation.think(*thoughts_in(item))
    else:
        raise unsupported(item.path("type"), f"An item of the type {kind!r} is not offered here.")


def _content(item: Fields, name: str) -> str | list[JsonPart]:
    value = item.need(name)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(item.path(name), "a string or a list of parts")
    parts = [_part(part) for part in item.objects(name)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or ""


def _part(part: Fields) -> JsonPart:
    kind = part.need_text("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.need_text("text")}
    if kind == "refusal":
        return {"type": "refusal", "refusal": part.need_text("refusal")}
    if kind == "input_image":
        part.refuse(("file_id",), "is not offered here: send the image or its URL")
        image: JsonPart = {"url": part.need_name("image_url")}
        if (detail := part.choice("detail", _DETAILS)) is not None:
            image["detail"] = detail
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        part.refuse(("file_id", "file_url"), "is not offered here: send the file's data")
        name = part.text("filename") or "file"
        return {
            "type": "file",
            "file": {"filename": name, "file_data": part.need_name("file_data")},
        }
    raise unsupported(part.path("type"), f"A part of the type {kind!r} is not offered here.")
