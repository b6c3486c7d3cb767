"""Requests of the Responses wire, as requests in OpenAI's chat form."""

from infermesh_router.domain.request import JsonObject, parse_model
from infermesh_router.domain.surfaces.fields import Fields, unsupported, wrong
from infermesh_router.domain.surfaces.responses.items import chat_messages
from infermesh_router.domain.surfaces.wire import Asked

# Nothing of a response is kept, so that nothing can be gone back to.
_STATE = ("background", "conversation", "previous_response_id", "prompt", "store")
# Each would change the answer.
_REFUSED = ("context_management", "moderation", "top_logprobs")
_PASSED = ("prompt_cache_key", "safety_identifier", "user")
_KNOWN = frozenset(
    {
        *_STATE,
        *_REFUSED,
        *_PASSED,
        "access_programs",
        "background_options",
        "image",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "parallel_tool_calls",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "service_tier",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "truncation",
    }
)
_CHOICES = ("none", "auto", "required")


def read_response_request(body: JsonObject) -> Asked:
    """What a body of `POST /v1/responses` asks for.

    Raises:
        InvalidArgument: names the field.
    """
    fields = Fields(body)
    model = parse_model(body)
    fields.refuse_unknown(_KNOWN)
    fields.refuse(_STATE, "is not offered here: responses are not stored")
    fields.refuse(_REFUSED, "is not offered here")
    _check_ignored(fields)
    chat: dict[str, object] = {"model": model, "messages": chat_messages(fields)}
    passed: dict[str, object] = {name: fields.text(name) for name in _PASSED}
    passed |= {
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p", 0, 1),
        "max_tokens": fields.count("max_output_tokens", least=1),
        "parallel_tool_calls": fields.flag("parallel_tool_calls"),
    }
    if (tier := fields.text("service_tier")) != "auto":
        passed["service_tier"] = tier
    tools, choice = [_tool(tool) for tool in fields.objects("tools")], _tool_choice(fields)
    if tools:
        passed |= {"tools": tools, "tool_choice": choice}
    chat.update({name: value for name, value in passed.items() if value is not None})
    _text(fields, chat)
    _reasoning(fields, chat)
    return Asked(chat, model, bool(fields.flag("stream")))


def _check_ignored(fields: Fields) -> None:
    """What changes nothing must still be of its type."""
    for name, value in (metadata.value if (metadata := fields.inner("metadata")) else {}).items():
        if not isinstance(value, str):
            raise wrong(f"metadata.{name}", "a string")
    if "message.output_text.logprobs" in (fields.texts("include") or ()):
        raise unsupported("include", "'message.output_text.logprobs' is not offered here.")
    fields.choice("truncation", ("auto", "disabled"))
    fields.count("max_tool_calls")
    fields.inner("stream_options")


def _tool(tool: Fields) -> dict[str, object]:
    if (kind := tool.need_text("type")) != "function":
        raise unsupported(tool.path("type"), f"There are no tools of the type {kind!r} here.")
    tool.refuse(("defer_loading",), "is not offered here")
    if (tool.texts("allowed_callers") or ["direct"]) != ["direct"]:
        raise unsupported(tool.path("allowed_callers"), "Only the model itself can call a tool.")
    function: dict[str, object] = {"name": tool.need_name("name")}
    parameters = tool.inner("parameters")
    values = {
        "description": tool.text("description"),
        "parameters": parameters.value if parameters else None,
        "strict": tool.flag("strict"),
    }
    function.update({name: value for name, value in values.items() if value is not None})
    return {"type": "function", "function": function}


def _tool_choice(fields: Fields) -> object:
    choice = fields.value.get("tool_choice")
    if choice is None or isinstance(choice, str):
        return fields.choice("tool_choice", _CHOICES)
    chosen = Fields.of(choice, "tool_choice")
    if (kind := chosen.need_text("type")) != "function":
        raise unsupported(chosen.path("type"), f"A choice of the type {kind!r} is not offered.")
    return {"type": "function", "function": {"name": chosen.need_name("name")}}


def _text(fields: Fields, chat: dict[str, object]) -> None:
    text = fields.inner("text")
    if text is None:
        return
    if (verbosity := text.choice("verbosity", ("low", "medium", "high"))) is not None:
        chat["verbosity"] = verbosity
    form = text.inner("format")
    kind = form.need_text("type") if form else "text"
    if form is None or kind == "text":
        return
    if kind == "json_object":
        chat["response_format"] = {"type": kind}
    elif kind == "json_schema":
        schema: dict[str, object] = {
            "name": form.need_name("name"),
            "schema": form.need_inner("schema").value,
        }
        values = {"description": form.text("description"), "strict": form.flag("strict")}
        schema.update({name: value for name, value in values.items() if value is not None})
        chat["response_format"] = {"type": kind, "json_schema": schema}
    else:
        raise unsupported(form.path("type"), f"A format of the type {kind!r} is not offered here.")


def _reasoning(fields: Fields, chat: dict[str, object]) -> None:
    reasoning = fields.inner("reasoning")
    if reasoning is None:
        return
    if reasoning.text("mode") not in (None, "standard"):
        raise unsupported("reasoning.mode", "'reasoning.mode' can only be \"standard\" here.")
    for name in ("summary", "generate_summary", "context"):
        reasoning.text(name)
    if (effort := reasoning.text("effort")) is not None:
        chat["reasoning_effort"] = effort
