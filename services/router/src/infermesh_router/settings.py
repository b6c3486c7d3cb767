"""Settings of the router."""

from infermesh_common.settings import CommonSettings, Settings


class CacheStageSettings(Settings):
    """How long the cache stage may take."""

    lookup_timeout_ms: int
    store_timeout_ms: int
    flight_poll_ms: int


class EventSettings(Settings):
    """How usage events are held until the stream has them."""

    max_queued: int
    max_stream: int
    flush_timeout_ms: int


class LimitSettings(Settings):
    """Sizes beyond which a body is refused."""

    max_request_bytes: int
    max_response_bytes: int


class RouterSettings(CommonSettings):
    """Everything the router needs to know."""

    cache: CacheStageSettings
    events: EventSettings
    limits: LimitSettings
