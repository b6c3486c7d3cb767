"""Tools of the Messages wire, in OpenAI's chat form and back."""

from infermesh_router.domain.surfaces.fields import Fields, unsupported, wrong

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_tools(fields: Fields) -> dict[str, object]:
    """`tools`, where there are any.

    Raises:
        InvalidArgument: names the field; UNSUPPORTED_PARAMETER for tools that Anthropic runs.
    """
    tools = [_tool(tool) for tool in fields.objects("tools")]
    return {"tools": tools} if tools else {}


def _tool(tool: Fields) -> dict[str, object]:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        raise unsupported(tool.path("type"), f"There are no tools of the type {kind!r} here.")
    tool.refuse(("defer_loading", "input_examples"), "is not offered here")
    if (tool.texts("allowed_callers") or ["direct"]) != ["direct"]:
        raise unsupported(tool.path("allowed_callers"), "Only the model itself can call a tool.")
    function: dict[str, object] = {"name": tool.need_name("name")}
    if (description := tool.text("description")) is not None:
        function["description"] = description
    function["parameters"] = tool.need_inner("input_schema").value
    if (strict := tool.flag("strict")) is not None:
        function["strict"] = strict
    chat: dict[str, object] = {"type": "function", "function": function}
    if (marker := cache_marker(tool)) is not None:
        chat["cache_control"] = marker
    return chat


def cache_marker(block: Fields) -> dict[str, object] | None:
    """`cache_control` of a block or a tool."""
    marker = block.inner("cache_control")
    if marker is None:
        return None
    if marker.need_text("type") != "ephemeral":
        raise wrong(marker.path("type"), '"ephemeral"')
    ttl = marker.choice("ttl", ("5m", "1h"))
    return {"type": "ephemeral"} if ttl is None else {"type": "ephemeral", "ttl": ttl}


def chat_tool_choice(fields: Fields) -> dict[str, object]:
    """`tool_choice` and `parallel_tool_calls`, where they are given.

    Raises:
        InvalidArgument: names the field.
    """
    choice = fields.inner("tool_choice")
    if choice is None:
        return {}
    kind = choice.need_text("type")
    if not fields.items("tools"):
        if kind == "none":
            return {}
        raise wrong("tool_choice", "given with 'tools'")
    chat: dict[str, object] = {}
    if kind == "tool":
        function = {"name": choice.need_name("name")}
        chat["tool_choice"] = {"type": "function", "function": function}
    elif kind in _CHOICES:
        chat["tool_choice"] = _CHOICES[kind]
    else:
        raise wrong(choice.path("type"), 'one of "auto", "any", "tool", "none"')
    if choice.flag("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    return chat
