"""Which fields of a request a dialect can put on its wire.

What a protocol has nothing for is refused where it would change what the answer means, and left
out where it cannot. A field that is null asks for nothing.
"""

from collections.abc import Collection

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.request import JsonObject

HARMLESS = frozenset(
    {
        # Of the surface: they say nothing of the answer.
        "model",
        "stream",
        "stream_options",
        # They tell a provider who asks, what to keep or how soon to answer.
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        # A prediction makes an answer faster, and no provider promises what a seed gives.
        "prediction",
        "seed",
    }
)
"""Fields that a protocol may have nothing for: leaving them out does not change the answer."""

_NEUTRAL: dict[str, Collection[object]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
    "functions": ([],),
    "parallel_tool_calls": (True,),
}
"""Values that ask for what happens anyway."""


def unsupported(field: str, protocol: str, why: str = "") -> InvalidArgument:
    """The refusal of `field`, which `protocol` (its name for people) has nothing for."""
    return InvalidArgument(
        "UNSUPPORTED_PARAMETER",
        why or f"'{field}' cannot be translated for {protocol}.",
        field=field,
    )


def refuse_others(body: JsonObject, translated: Collection[str], protocol: str) -> None:
    """Checks that every field of `body` is translated or harmless.

    Raises:
        InvalidArgument: UNSUPPORTED_PARAMETER, names the first that is neither.
    """
    for name, value in body.items():
        if value is None or name in translated or name in HARMLESS:
            continue
        if value not in _NEUTRAL.get(name, ()):
            raise unsupported(name, protocol)
