"""Usage as OpenAI's wire reports it, into disjoint buckets."""

from infermesh_common.usage import Usage
from infermesh_router.domain.request import JsonObject


def usage_of(answer: JsonObject) -> Usage | None:
    """Usage in an answer or a final chunk; None when it reports none or nonsense.

    OpenAI's `prompt_tokens` include those read from a cache and those written to one, and
    `completion_tokens` the reasoning ones; here each token is in one bucket.
    """
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "prompt_tokens")
    completion = _count(usage, "completion_tokens") if "completion_tokens" in usage else 0
    if prompt is None or completion is None:
        return None
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens", prompt)
    written = _detail(usage, "prompt_tokens_details", "cache_write_tokens", prompt - cached)
    reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens", completion)
    return Usage(
        input_tokens=prompt - cached - written,
        cached_input_tokens=cached,
        cache_write_input_tokens=written,
        output_tokens=completion - reasoning,
        reasoning_tokens=reasoning,
    )


def _count(values: JsonObject, name: str) -> int | None:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def _detail(usage: JsonObject, group: str, name: str, at_most: int) -> int:
    details = usage.get(group)
    count = _count(details, name) if isinstance(details, dict) else None
    return min(count or 0, at_most)
