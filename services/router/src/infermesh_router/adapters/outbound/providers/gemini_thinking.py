"""How much a Gemini model is to think. Source: Gemini API, "Thinking", "OpenAI compatibility"."""

import re

from infermesh_common.errors import InvalidArgument
from infermesh_router.adapters.outbound.providers.gemini_parts import PROTOCOL
from infermesh_router.adapters.outbound.providers.parameters import unsupported
from infermesh_router.domain.request import JsonObject

_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""In tokens. Google's own, for its endpoint that speaks OpenAI's wire."""
_AS_MUCH_AS_IT_NEEDS = -1

_NAMED = re.compile(r"gemini-(\d+)")
_FIRST_WITH_LEVELS = 3


def thinking_config(model: str, body: JsonObject) -> dict[str, object] | None:
    """The `thinkingConfig` that `thinking` asks for, or without it `reasoning_effort`; None: it is
    the model's choice.

    Args:
        model: name the API knows it by. Those that do not tell their generation get a budget,
            which all take.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, INVALID_THINKING.
    """
    thinking, effort = body.get("thinking"), body.get("reasoning_effort")
    if thinking is not None:
        return _asked(thinking)
    if effort is None:
        return None
    if effort == "none":
        return {"thinkingBudget": 0}
    if _has_levels(model) and isinstance(effort, str) and effort in _LEVELS:
        return {"thinkingLevel": _LEVELS[effort], "includeThoughts": True}
    if not _has_levels(model) and isinstance(effort, str) and effort in _BUDGETS:
        return {"thinkingBudget": _BUDGETS[effort], "includeThoughts": True}
    raise unsupported("reasoning_effort", PROTOCOL)


def _asked(thinking: object) -> dict[str, object]:
    if not isinstance(thinking, dict):
        raise InvalidArgument("INVALID_THINKING", "'thinking' must be an object.", field="thinking")
    kind, budget = thinking.get("type"), thinking.get("budget_tokens")
    if kind == "disabled":
        return {"thinkingBudget": 0}
    if kind == "adaptive":
        return {"thinkingBudget": _AS_MUCH_AS_IT_NEEDS, "includeThoughts": True}
    if kind != "enabled" or isinstance(budget, bool) or not isinstance(budget, int):
        raise unsupported("thinking", PROTOCOL)
    return {"thinkingBudget": budget, "includeThoughts": True}


def _has_levels(model: str) -> bool:
    named = _NAMED.search(model)
    return named is not None and int(named[1]) >= _FIRST_WITH_LEVELS
