"""Chat requests in Gemini's form. Source: Gemini API reference, "generateContent", "Caching:
FunctionDeclaration", "GenerationConfig"."""

from typing import cast

from infermesh_common.errors import InvalidArgument
from infermesh_common.resources.types import ModelSpec
from infermesh_router.adapters.outbound.providers.gemini_messages import Conversation
from infermesh_router.adapters.outbound.providers.gemini_parts import PROTOCOL
from infermesh_router.adapters.outbound.providers.gemini_thinking import thinking_config
from infermesh_router.adapters.outbound.providers.parameters import refuse_others, unsupported
from infermesh_router.domain.request import JsonObject

_RENAMED = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "max_tokens": "maxOutputTokens",
    # After the former, which it overrides.
    "max_completion_tokens": "maxOutputTokens",
}
_TRANSLATED = frozenset(
    {
        *_RENAMED,
        "messages",
        "stop",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "thinking",
    }
)
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_JSON = "application/json"


def request_body(spec: ModelSpec, body: JsonObject) -> dict[str, object]:
    """The body of `generateContent` and of `streamGenerateContent`.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, the API has nothing for a field;
            INVALID_MESSAGES, INVALID_TOOLS, INVALID_THINKING, a field is not as OpenAI's form
            wants it.
    """
    refuse_others(body, _TRANSLATED, PROTOCOL)
    conversation = Conversation(spec.upstream_model)
    for number, message in enumerate(cast(list[JsonObject], body["messages"])):
        conversation.add(message, f"messages[{number}]")
    sent: dict[str, object] = {"contents": conversation.contents()}
    if conversation.system:
        sent["systemInstruction"] = {"parts": conversation.system}
    config = _sampling(body) | _format(body.get("response_format"))
    if (thinking := thinking_config(spec.upstream_model, body)) is not None:
        config["thinkingConfig"] = thinking
    if config:
        sent["generationConfig"] = config
    return sent | _tools(body)


def _sampling(body: JsonObject) -> dict[str, object]:
    config = {sent: body[name] for name, sent in _RENAMED.items() if body.get(name) is not None}
    if (stop := body.get("stop")) is not None:
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if body.get("logprobs"):
        config["responseLogprobs"] = True
        if body.get("top_logprobs"):
            config["logprobs"] = body["top_logprobs"]
    elif body.get("top_logprobs"):
        why = "'top_logprobs' means nothing without 'logprobs'."
        raise unsupported("top_logprobs", PROTOCOL, why)
    return config


def _format(form: object) -> dict[str, object]:
    if form is None or form == {"type": "text"}:
        return {}
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_object":
        return {"responseMimeType": _JSON}
    wanted = form.get("json_schema") if isinstance(form, dict) else None
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise unsupported("response_format", PROTOCOL)
    return {"responseMimeType": _JSON, "responseJsonSchema": schema}


def _tools(body: JsonObject) -> dict[str, object]:
    tools = body.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise InvalidArgument("INVALID_TOOLS", "'tools' must be a list.", field="tools")
    declared = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    sent: dict[str, object] = {"tools": [{"functionDeclarations": declared}]}
    if (choice := body.get("tool_choice")) is not None:
        sent["toolConfig"] = {"functionCallingConfig": _choice(choice)}
    return sent


def _choice(choice: object) -> dict[str, object]:
    if isinstance(choice, str) and choice in _MODES:
        return {"mode": _MODES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise unsupported("tool_choice", PROTOCOL)
    return {"mode": "ANY", "allowedFunctionNames": [function["name"]]}


def _tool(tool: object, field: str) -> dict[str, object]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise unsupported(f"{field}.type", PROTOCOL)
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidArgument(
            "INVALID_TOOLS", "Each tool must have a function with a name.", field=field
        )
    sent: dict[str, object] = {"name": function["name"]}
    if function.get("description"):
        sent["description"] = function["description"]
    if function.get("parameters"):
        sent["parametersJsonSchema"] = function["parameters"]
    return sent
