"""Client SDK and command line of InferMesh.

The public names are loaded when they are first used: the generated stubs share this namespace,
and importing one of them must not load the SDK, nor the command's `--help` gRPC.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infermesh.aio import AsyncClient
    from infermesh.client import Client
    from infermesh.errors import (
        AuthenticationError,
        ConflictError,
        DeadlineExceededError,
        InfermeshError,
        InternalError,
        InvalidRequestError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        UnavailableError,
    )
    from infermesh.inference import (
        CacheControl,
        CacheStatus,
        Candidate,
        Decision,
        InferResult,
        JsonValue,
        Message,
        SemanticMatch,
        SemanticVerdict,
        StageTiming,
        Tier,
        TokenUsage,
        ToolCall,
    )
    from infermesh.paging import AsyncPager, Pager
    from infermesh.records import (
        CacheStats,
        Dimension,
        Health,
        IssuedKey,
        Key,
        Outcome,
        RegisteredModel,
        Role,
        SemanticCandidate,
        SemanticEvidence,
        SemanticExplanation,
        Tenant,
        UsageEvent,
        UsageFilter,
        UsageRow,
    )
    from infermesh.retrieval import ContextualChunk, Passage, RetrievalDocument
    from infermesh.settings import TlsOptions
    from infermesh.streams import AsyncInferStream, InferStream

# The generated stubs (infermesh.router.v1, …) are a distribution of their own in this namespace.
__path__ = extend_path(__path__, __name__)

_HOME = {
    "AsyncClient": "aio",
    "AsyncInferStream": "streams",
    "AsyncPager": "paging",
    "AuthenticationError": "errors",
    "CacheControl": "inference",
    "CacheStats": "records",
    "CacheStatus": "inference",
    "Candidate": "inference",
    "Client": "client",
    "ConflictError": "errors",
    "ContextualChunk": "retrieval",
    "DeadlineExceededError": "errors",
    "Decision": "inference",
    "Dimension": "records",
    "Health": "records",
    "InferResult": "inference",
    "InferStream": "streams",
    "InfermeshError": "errors",
    "InternalError": "errors",
    "InvalidRequestError": "errors",
    "IssuedKey": "records",
    "JsonValue": "inference",
    "Key": "records",
    "Message": "inference",
    "NotFoundError": "errors",
    "Outcome": "records",
    "Pager": "paging",
    "Passage": "retrieval",
    "PermissionDeniedError": "errors",
    "RateLimitError": "errors",
    "RegisteredModel": "records",
    "RetrievalDocument": "retrieval",
    "Role": "records",
    "SemanticCandidate": "records",
    "SemanticEvidence": "records",
    "SemanticExplanation": "records",
    "SemanticMatch": "inference",
    "SemanticVerdict": "inference",
    "StageTiming": "inference",
    "Tenant": "records",
    "Tier": "inference",
    "TlsOptions": "settings",
    "TokenUsage": "inference",
    "ToolCall": "inference",
    "UnavailableError": "errors",
    "UsageEvent": "records",
    "UsageFilter": "records",
    "UsageRow": "records",
}

__all__ = [
    "AsyncClient",
    "AsyncInferStream",
    "AsyncPager",
    "AuthenticationError",
    "CacheControl",
    "CacheStats",
    "CacheStatus",
    "Candidate",
    "Client",
    "ConflictError",
    "ContextualChunk",
    "DeadlineExceededError",
    "Decision",
    "Dimension",
    "Health",
    "InferResult",
    "InferStream",
    "InfermeshError",
    "InternalError",
    "InvalidRequestError",
    "IssuedKey",
    "JsonValue",
    "Key",
    "Message",
    "NotFoundError",
    "Outcome",
    "Pager",
    "Passage",
    "PermissionDeniedError",
    "RateLimitError",
    "RegisteredModel",
    "RetrievalDocument",
    "Role",
    "SemanticCandidate",
    "SemanticEvidence",
    "SemanticExplanation",
    "SemanticMatch",
    "SemanticVerdict",
    "StageTiming",
    "Tenant",
    "Tier",
    "TlsOptions",
    "TokenUsage",
    "ToolCall",
    "UnavailableError",
    "UsageEvent",
    "UsageFilter",
    "UsageRow",
]


def __getattr__(name: str) -> object:
    """Loads a public name at its first use."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
