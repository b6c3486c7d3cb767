"""Settings of the cache service."""

from typing import Annotated

from pydantic import Field

from infermesh_cache.embedding_settings import EmbeddingSettings
from infermesh_common.settings import CommonSettings, Settings

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]


class FlightSettings(Settings):
    """Single flight."""

    lease_ttl_ms: Positive
    poll_ms: Positive


class CodecSettings(Settings):
    """Stored form of entries."""

    compress_above_bytes: NotNegative
    offload_above_bytes: NotNegative
    threads: Positive


class EntrySettings(Settings):
    """Book-keeping of entries."""

    uses_interval_ms: Positive
    batch: Positive
    sweep_interval_ms: Positive


class CopySettings(Settings):
    """Copies of entries that routers keep."""

    lease_ms: Positive


class SemanticSettings(Settings):
    """The semantic tier; whether a tenant uses it, its policy says."""

    lookup_timeout_ms: Positive
    threads: Positive
    load_retry_ms: Positive
    share_interval_ms: Positive
    most_unshared: Positive
    lesson_ttl_s: Positive
    most_lessons_under_way: Positive
    feedback_ttl_s: Positive
    feedback_per_hour: Positive
    embedding: EmbeddingSettings


class CacheSettings(CommonSettings):
    """Everything the cache service needs to know."""

    flights: FlightSettings
    codec: CodecSettings
    entries: EntrySettings
    copies: CopySettings
    semantic: SemanticSettings
