"""What may be served from a cache and what may be written to one."""

from infermesh_common.resources.types import CachePolicySpec
from infermesh_router.domain.request import InferenceRequest, JsonObject, Surface

_COMPLETE = frozenset({"stop", "tool_calls", "function_call"})


def lookup_objection(request: InferenceRequest, policy: CachePolicySpec) -> str | None:
    """Why `request` may not touch the caches at all; None when it may."""
    if not policy.enabled:
        return "caching is off for this tenant"
    if request.surface is Surface.EMBEDDINGS:
        return None
    if request.temperature > policy.max_temperature:
        return (
            f"temperature {request.temperature:g} is above the policy's {policy.max_temperature:g}"
        )
    if request.body.get("web_search_options") is not None:
        return "the answer depends on a live search"
    tools = request.body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or tool.get("type") != "function":
            return "a tool that the provider runs may answer differently next time"
    return None


def store_objection(
    request: InferenceRequest, policy: CachePolicySpec, answer: JsonObject, size_bytes: int
) -> str | None:
    """Why `answer` may not be written to a cache; None when it may.

    Never stored: errors, truncated, filtered and unfinished answers.
    """
    if request.cache.no_store:
        return "the request says no-store"
    if size_bytes > policy.max_entry_bytes:
        return f"{size_bytes} bytes are more than the policy's {policy.max_entry_bytes}"
    if answer.get("error") is not None:
        return "it is an error"
    if request.surface is Surface.EMBEDDINGS:
        return None if answer.get("data") else "it has no data"
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return "it has no choices"
    for choice in choices:
        reason = choice.get("finish_reason") if isinstance(choice, dict) else None
        if reason not in _COMPLETE:
            return f"finish_reason is {reason}"
    return None
