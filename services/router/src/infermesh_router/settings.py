"""Settings of the router."""

from typing import Annotated

from pydantic import Field, PositiveInt

from infermesh_common.settings import CommonSettings, Settings


class CacheStageSettings(Settings):
    """How long the cache stage may take."""

    lookup_timeout_ms: int
    semantic_timeout_ms: int
    store_timeout_ms: int
    flight_poll_ms: int
    streams: int
    stream_age_ms: int


class NearCacheSettings(Settings):
    """Copies of cache entries in this process."""

    max_bytes: int
    max_age_ms: int
    poll_timeout_ms: int


class EventSettings(Settings):
    """How usage events are held until the stream has them."""

    max_queued: int
    max_stream: int
    linger_ms: int
    written_within_ms: int
    flush_timeout_ms: int


class ResilienceSettings(Settings):
    """How long keys of providers rest, and how many attempts there may be beyond the first."""

    cooldown_ms: PositiveInt
    refused_cooldown_ms: PositiveInt
    longest_cooldown_ms: PositiveInt
    retry_share: Annotated[float, Field(ge=0, le=1)]
    retries_per_second: Annotated[float, Field(ge=0)]


class LimitSettings(Settings):
    """Sizes beyond which a body is refused."""

    max_request_bytes: int
    max_response_bytes: int


class RouterSettings(CommonSettings):
    """Everything the router needs to know."""

    cache: CacheStageSettings
    near_cache: NearCacheSettings
    events: EventSettings
    limits: LimitSettings
    resilience: ResilienceSettings
