"""Requests of the Messages wire, as requests in OpenAI's chat form."""

from infermesh_router.domain.request import JsonObject, parse_model
from infermesh_router.domain.surfaces.anthropic.messages import chat_messages
from infermesh_router.domain.surfaces.anthropic.tools import chat_tool_choice, chat_tools
from infermesh_router.domain.surfaces.fields import Fields, unsupported, wrong
from infermesh_router.domain.surfaces.wire import Asked

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING = ("enabled", "disabled", "adaptive")
# Each would change the answer, where it is made or what is kept of it.
_REFUSED = ("container", "context_management", "inference_geo", "mcp_servers")
_KNOWN = frozenset(
    {
        *_REFUSED,
        "cache_control",
        "diagnostics",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user_profile_id",
        "workspace_id",
    }
)


def read_message_request(body: JsonObject) -> Asked:
    """What a body of `POST /v1/messages` asks for.

    Raises:
        InvalidArgument: names the field.
    """
    fields = Fields(body)
    model = parse_model(body)
    fields.refuse_unknown(_KNOWN)
    fields.refuse(_REFUSED, "is not offered here")
    if fields.choice("speed", ("standard", "fast")) == "fast":
        raise unsupported("speed", "'speed' can only be \"standard\" here.")
    chat: dict[str, object] = {"model": model, "messages": chat_messages(fields)}
    max_tokens = fields.count("max_tokens", least=1)
    if max_tokens is None:
        raise wrong("max_tokens", "a whole number of at least 1")
    chat["max_tokens"] = max_tokens
    _sampling(fields, chat)
    chat.update(chat_tools(fields))
    chat.update(chat_tool_choice(fields))
    _thinking(fields, max_tokens, chat)
    _output(fields, chat)
    metadata = fields.inner("metadata")
    if metadata is not None and (user := metadata.text("user_id")) is not None:
        chat["user"] = user
    return Asked(chat, model, bool(fields.flag("stream")))


def _sampling(fields: Fields, chat: dict[str, object]) -> None:
    values = {
        "temperature": fields.number("temperature", 0, 1),
        "top_p": fields.number("top_p", 0, 1),
        "top_k": fields.count("top_k"),
        "stop": fields.texts("stop_sequences") or None,
    }
    chat.update({name: value for name, value in values.items() if value is not None})


def _thinking(fields: Fields, max_tokens: int, chat: dict[str, object]) -> None:
    thinking = fields.inner("thinking")
    if thinking is None:
        return
    kind = thinking.need_text("type")
    if kind not in _THINKING:
        raise unsupported("thinking.type", "'thinking.type' must be one of " + ", ".join(_THINKING))
    wanted: dict[str, object] = {"type": kind}
    if kind == "enabled":
        budget = thinking.count("budget_tokens", least=1)
        if budget is None or budget >= max_tokens:
            raise wrong("thinking.budget_tokens", "a whole number of tokens below 'max_tokens'")
        wanted["budget_tokens"] = budget
    display = thinking.choice("display", ("summarized", "omitted"))
    if display is not None:
        wanted["display"] = display
    chat["thinking"] = wanted


def _output(fields: Fields, chat: dict[str, object]) -> None:
    config = fields.inner("output_config")
    if config is None:
        return
    if (effort := config.choice("effort", _EFFORTS)) is not None:
        chat["reasoning_effort"] = effort
    if (form := config.inner("format")) is not None:
        if form.need_text("type") != "json_schema":
            raise unsupported(form.path("type"), 'The only format of output is "json_schema".')
        schema = form.need_inner("schema").value
        chat["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": schema, "strict": True},
        }
