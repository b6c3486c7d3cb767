"""Turns of a conversation and free JSON, to protobuf."""

import math
from collections.abc import Mapping, Sequence

from google.protobuf import struct_pb2

from infermesh.errors import InvalidRequestError
from infermesh.inference import JsonValue, Message
from infermesh.router.v1 import inference_pb2

_KNOWN = ("role", "content", "name", "tool_calls", "tool_call_id")
# A Struct carries numbers as doubles: whole numbers beyond are not exact.
_LARGEST_WHOLE_NUMBER = 2**53


def message_to_proto(message: Message | Mapping[str, JsonValue]) -> inference_pb2.Message:
    """One turn, either a `Message` or a mapping in OpenAI's form.

    Raises:
        InvalidRequestError: INVALID_MESSAGES, INVALID_JSON.
    """
    if not isinstance(message, Message):
        return _mapping_to_proto(message)
    return inference_pb2.Message(
        role=message.role,
        content=message.content,
        parts=[struct_to_proto(part, "parts") for part in message.parts],
        name=message.name,
        tool_calls=[
            inference_pb2.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
            for call in message.tool_calls
        ],
        tool_call_id=message.tool_call_id,
    )


def struct_to_proto(value: Mapping[str, JsonValue], path: str) -> struct_pb2.Struct:
    """A JSON object.

    Args:
        value: the object.
        path: where it is in the request, for messages.

    Raises:
        InvalidRequestError: INVALID_JSON, something in it is not JSON.
    """
    return struct_pb2.Struct(
        fields={name: _value(inner, f"{path}.{name}") for name, inner in value.items()}
    )


def _value(value: JsonValue, path: str) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, int) and abs(value) <= _LARGEST_WHOLE_NUMBER:
        return struct_pb2.Value(number_value=value)
    if isinstance(value, float) and math.isfinite(value):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return struct_pb2.Value(struct_value=struct_to_proto(value, path))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = [_value(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
    raise InvalidRequestError(
        f"The value of {path} cannot be sent as JSON.", reason="INVALID_JSON", field=path
    )


def _mapping_to_proto(message: Mapping[str, JsonValue]) -> inference_pb2.Message:
    # What is not carried must not be dropped unseen; SDKs dump absent fields as None.
    unknown = [name for name, value in message.items() if name not in _KNOWN and value is not None]
    if unknown:
        raise _invalid(f"A message has no field {unknown[0]!r}.", f"messages.{unknown[0]}")
    content = message.get("content")
    turn = inference_pb2.Message(
        role=_text(message, "role"),
        name=_text(message, "name"),
        tool_call_id=_text(message, "tool_call_id"),
        tool_calls=[_tool_call(call) for call in _items(message.get("tool_calls"), "tool_calls")],
    )
    if not isinstance(content, str):
        turn.parts.extend(_part(part) for part in _items(content, "content"))
    else:
        turn.content = content
    return turn


def _tool_call(call: JsonValue) -> inference_pb2.ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        raise _invalid("A tool call needs an id and a function.", "messages.tool_calls")
    return inference_pb2.ToolCall(
        id=_text(call, "id"), name=_text(function, "name"), arguments=_text(function, "arguments")
    )


def _part(part: JsonValue) -> struct_pb2.Struct:
    if not isinstance(part, Mapping):
        raise _invalid("A content part is an object.", "messages.content")
    return struct_to_proto(part, "messages.content")


def _items(value: JsonValue, name: str) -> Sequence[JsonValue]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _invalid(f"{name!r} of a message is a list.", f"messages.{name}")
    return value


def _text(mapping: Mapping[str, JsonValue], name: str) -> str:
    value = mapping.get(name)
    if value is not None and not isinstance(value, str):
        raise _invalid(f"{name!r} of a message is a text.", f"messages.{name}")
    return value or ""


def _invalid(message: str, field: str) -> InvalidRequestError:
    return InvalidRequestError(message, reason="INVALID_MESSAGES", field=field)
