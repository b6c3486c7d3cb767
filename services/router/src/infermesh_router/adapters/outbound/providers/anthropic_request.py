"""Chat requests in Anthropic's form. Source: Claude API reference, "Create a Message"."""

from collections.abc import Mapping
from typing import cast

from infermesh_common.errors import InvalidArgument
from infermesh_common.resources.types import ModelSpec
from infermesh_router.adapters.outbound.providers.anthropic_content import PROTOCOL
from infermesh_router.adapters.outbound.providers.anthropic_messages import conversation
from infermesh_router.adapters.outbound.providers.parameters import refuse_others, unsupported
from infermesh_router.domain.request import JsonObject

DEFAULT_MAX_TOKENS = 4096
"""Longest answer where neither the request nor the Model resource has a limit, which the API
demands: what even its oldest models can give."""

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
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
    }
)
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
_EFFORTS |= {"xhigh": "xhigh", "max": "max"}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def request_body(spec: ModelSpec, body: JsonObject, *, stream: bool) -> dict[str, object]:
    """The body of `POST /messages`.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, the API has nothing for a field;
            INVALID_MESSAGES, INVALID_TOOLS, a field is not as OpenAI's form wants it.
    """
    refuse_others(body, _TRANSLATED, PROTOCOL)
    system, turns = conversation(cast(list[JsonObject], body["messages"]))
    thinking, effort = _reasoning(body)
    sent: dict[str, object] = {
        "model": spec.upstream_model,
        "max_tokens": _max_tokens(spec, body, thinking),
        "messages": turns,
    }
    if system:
        sent["system"] = system
    if stream:
        sent["stream"] = True
    if thinking is not None:
        sent["thinking"] = thinking
    output: dict[str, object] = {"effort": effort} if effort else {}
    if (schema := _schema(body.get("response_format"))) is not None:
        output["format"] = {"type": "json_schema", "schema": schema}
    if output:
        sent["output_config"] = output
    return sent | _sampling(body) | _tools(body) | _user(body)


def _max_tokens(spec: ModelSpec, body: JsonObject, thinking: JsonObject | None) -> object:
    for name in ("max_completion_tokens", "max_tokens"):
        if body.get(name) is not None:
            return body[name]
    if spec.max_output_tokens is not None:
        return spec.max_output_tokens
    # Thoughts count as output.
    budget = (thinking or {}).get("budget_tokens")
    return DEFAULT_MAX_TOKENS + (budget if isinstance(budget, int) else 0)


def _reasoning(body: JsonObject) -> tuple[JsonObject | None, str | None]:
    """What goes into `thinking` and into `output_config.effort`."""
    thinking = body.get("thinking")
    if thinking is not None and not isinstance(thinking, dict):
        raise InvalidArgument("INVALID_THINKING", "'thinking' must be an object.", field="thinking")
    effort = body.get("reasoning_effort")
    if effort is None:
        return thinking, None
    if effort == "none":
        return thinking or {"type": "disabled"}, None
    if not isinstance(effort, str) or effort not in _EFFORTS:
        raise unsupported("reasoning_effort", PROTOCOL)
    return thinking or {"type": "adaptive"}, _EFFORTS[effort]


def _schema(form: object) -> object:
    """The JSON schema that the answer must follow; None when there is none."""
    if form is None or form == {"type": "text"}:
        return None
    wanted = form.get("json_schema") if isinstance(form, dict) else None
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict):
        why = f"{PROTOCOL} makes JSON by a schema only: give 'response_format' one."
        raise unsupported("response_format", PROTOCOL, why)
    return schema


def _sampling(body: JsonObject) -> dict[str, object]:
    sent = {
        name: body[name] for name in ("temperature", "top_p", "top_k") if body.get(name) is not None
    }
    temperature = sent.get("temperature")
    if isinstance(temperature, (int, float)) and temperature > 1:
        why = f"'temperature' is at most 1 for {PROTOCOL}."
        raise unsupported("temperature", PROTOCOL, why)
    if (stop := body.get("stop")) is not None:
        sent["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    return sent


def _user(body: JsonObject) -> dict[str, object]:
    for name in ("safety_identifier", "user"):
        if isinstance(body.get(name), str) and body[name]:
            return {"metadata": {"user_id": body[name]}}
    return {}


def _tools(body: JsonObject) -> dict[str, object]:
    tools = body.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise InvalidArgument("INVALID_TOOLS", "'tools' must be a list.", field="tools")
    sent: dict[str, object] = {"tools": [_tool(tool, n) for n, tool in enumerate(tools)]}
    choice = _choice(body.get("tool_choice"))
    if body.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return sent | ({"tool_choice": choice} if choice else {})


def _choice(choice: object) -> dict[str, object]:
    if choice is None:
        return {}
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise unsupported("tool_choice", PROTOCOL)
    return {"type": "tool", "name": function["name"]}


def _tool(tool: object, number: int) -> dict[str, object]:
    field = f"tools[{number}]"
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise unsupported(f"{field}.type", PROTOCOL)
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidArgument(
            "INVALID_TOOLS", "Each tool must have a function with a name.", field=field
        )
    assert isinstance(tool, dict)
    sent: dict[str, object] = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    kept: Mapping[str, object] = {**function, "cache_control": tool.get("cache_control")}
    for name in ("description", "strict", "cache_control"):
        if kept.get(name) is not None:
            sent[name] = kept[name]
    return sent
