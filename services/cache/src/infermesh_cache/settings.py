"""Settings of the cache service."""

from typing import Annotated

from pydantic import Field

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


class CacheSettings(CommonSettings):
    """Everything the cache service needs to know."""

    flights: FlightSettings
    codec: CodecSettings
    entries: EntrySettings
    copies: CopySettings
