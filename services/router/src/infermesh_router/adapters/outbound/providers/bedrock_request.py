"""Chat requests in Converse's form. Source: Amazon Bedrock API reference, "Converse"."""

from typing import cast

import orjson

from infermesh_common.errors import InvalidArgument
from infermesh_common.resources.types import ModelSpec
from infermesh_router.adapters.outbound.providers.anthropic_content import Block
from infermesh_router.adapters.outbound.providers.anthropic_messages import conversation
from infermesh_router.adapters.outbound.providers.bedrock_content import (
    PROTOCOL,
    Contents,
    cache_point,
)
from infermesh_router.adapters.outbound.providers.parameters import refuse_others, unsupported
from infermesh_router.domain.request import JsonObject

_TRANSLATED = frozenset(
    {
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "thinking",
    }
)
_CHOICES: dict[str, dict[str, object]] = {"auto": {"auto": {}}, "required": {"any": {}}}
EFFORTS: dict[str, str | None] = {
    "none": None,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
"""How hard to think, by OpenAI's words for it; None is not at all."""


def request_body(spec: ModelSpec, body: JsonObject) -> dict[str, object]:
    """The body of `POST /model/{model}/converse` and of `converse-stream`.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, the API has nothing for a field;
            INVALID_MESSAGES, INVALID_TOOLS, a field is not as OpenAI's form wants it.
    """
    refuse_others(body, _TRANSLATED, PROTOCOL)
    system, turns = _conversation(body)
    sent: dict[str, object] = {"messages": turns}
    if system:
        sent["system"] = system
    if config := _inference(spec, body):
        sent["inferenceConfig"] = config
    if tools := _tools(body, turns):
        sent["toolConfig"] = tools
    if output := _output(body):
        sent["outputConfig"] = output
    if fields := _own_fields(body):
        sent["additionalModelRequestFields"] = fields
    return sent


def _output(body: JsonObject) -> dict[str, object]:
    form = body.get("response_format")
    if form is None or form == {"type": "text"}:
        return {}
    wanted = form.get("json_schema") if isinstance(form, dict) else None
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(schema, dict):
        why = f"{PROTOCOL} makes JSON by a schema only: give 'response_format' one."
        raise unsupported("response_format", PROTOCOL, why)
    named = {
        name: wanted[name] for name in ("name", "description") if isinstance(wanted.get(name), str)
    }
    structure = {"jsonSchema": {"schema": orjson.dumps(schema).decode(), **named}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


def _own_fields(body: JsonObject) -> dict[str, object]:
    """Fields of the model's own, which the API hands on: these are those of Anthropic's models."""
    fields = {name: body[name] for name in ("top_k", "thinking") if body.get(name) is not None}
    effort = body.get("reasoning_effort")
    if effort is None:
        return fields
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise unsupported("reasoning_effort", PROTOCOL)
    if EFFORTS[effort] is None:
        return {"thinking": {"type": "disabled"}, **fields}
    return {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": EFFORTS[effort]},
        **fields,
    }


def _conversation(body: JsonObject) -> tuple[list[Block], list[Block]]:
    """Converse wants the turns that Anthropic wants, with blocks of another form."""
    try:
        system, turns = conversation(cast(list[JsonObject], body["messages"]))
    except InvalidArgument as error:
        if error.reason == "UNSUPPORTED_PARAMETER":
            raise unsupported(error.field or "messages", PROTOCOL) from error
        raise
    contents = Contents()
    return contents.blocks(system), [
        {"role": turn["role"], "content": contents.blocks(cast(list[Block], turn["content"]))}
        for turn in turns
    ]


def _inference(spec: ModelSpec, body: JsonObject) -> dict[str, object]:
    config: dict[str, object] = {}
    longest = body.get("max_completion_tokens") or body.get("max_tokens") or spec.max_output_tokens
    if longest is not None:
        config["maxTokens"] = longest
    for name, sent in (("temperature", "temperature"), ("top_p", "topP")):
        if body.get(name) is not None:
            config[sent] = body[name]
    temperature = config.get("temperature")
    if isinstance(temperature, (int, float)) and temperature > 1:
        raise unsupported("temperature", PROTOCOL, f"'temperature' is at most 1 for {PROTOCOL}.")
    if (stop := body.get("stop")) is not None:
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    return config


def _tools(body: JsonObject, turns: list[Block]) -> dict[str, object]:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise InvalidArgument("INVALID_TOOLS", "'tools' must be a list.", field="tools")
    if choice == "none":
        # The API has no such choice. A model that is told of no tool calls none; but where tools
        # were called before, the API wants to be told of them.
        if any(
            "toolUse" in block for turn in turns for block in cast(list[Block], turn["content"])
        ):
            raise unsupported("tool_choice", PROTOCOL)
        return {}
    sent: list[Block] = []
    for number, tool in enumerate(tools):
        sent.append({"toolSpec": _tool(tool, f"tools[{number}]")})
        if isinstance(tool, dict):
            sent += cache_point(tool.get("cache_control"))
    return {"tools": sent} | ({} if choice is None else {"toolChoice": _choice(choice)})


def _choice(choice: object) -> dict[str, object]:
    if isinstance(choice, str) and choice in _CHOICES:
        return _CHOICES[choice]
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise unsupported("tool_choice", PROTOCOL)
    return {"tool": {"name": function["name"]}}


def _tool(tool: object, field: str) -> dict[str, object]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise unsupported(f"{field}.type", PROTOCOL)
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidArgument(
            "INVALID_TOOLS", "Each tool must have a function with a name.", field=field
        )
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    sent: dict[str, object] = {"name": function["name"], "inputSchema": {"json": schema}}
    for name in ("description", "strict"):
        if function.get(name) is not None:
            sent[name] = function[name]
    return sent
