"""The tables as the code uses them; the migrations make them.

Both begin with what finds an event; the tenant is a column of every index that serves tenants.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

from infermesh_analytics.adapters.outbound.sql.money import ExactDecimal

# Byte order, as SQLite's: keys sort alike on both databases and whatever the locale of the server.
LABEL = Text().with_variant(Text(collation="C"), "postgresql")

METADATA = MetaData()

EVENTS = Table(
    "usage_events",
    METADATA,
    Column("event_id", Uuid(), primary_key=True),
    Column("tenant", LABEL, nullable=False),
    Column("day", Date(), nullable=False, comment="Of the request, in UTC."),
    Column(
        "request_time", BigInteger(), nullable=False, comment="Microseconds since the epoch, UTC."
    ),
    Column("key_id", LABEL, nullable=False),
    Column("model", LABEL, nullable=False),
    Column("provider", LABEL, nullable=False),
    Column("requested_model", LABEL, nullable=False),
    Column("protocol", LABEL, nullable=False),
    Column("task", LABEL, nullable=False),
    Column("streamed", Boolean(), nullable=False),
    Column("outcome", SmallInteger(), nullable=False, comment="infermesh.analytics.v1.Outcome"),
    Column("error_reason", LABEL, nullable=False),
    Column(
        "cache_status", SmallInteger(), nullable=False, comment="infermesh.common.v1.CacheStatus"
    ),
    Column("tier", SmallInteger(), nullable=False, comment="infermesh.common.v1.CacheTier"),
    Column("cost", ExactDecimal(), comment="US dollars; NULL is unknown."),
    Column("baseline_cost", ExactDecimal(), comment="US dollars; NULL is unknown."),
    Column("saved", ExactDecimal(), comment="baseline_cost - cost; NULL when either is."),
    Column("baseline_model", LABEL, nullable=False),
    Column("price_version", LABEL, nullable=False),
    Column("input_tokens", BigInteger(), nullable=False),
    Column("cached_input_tokens", BigInteger(), nullable=False),
    Column("output_tokens", BigInteger(), nullable=False),
    Column("reasoning_tokens", BigInteger(), nullable=False),
    Column("batch_input_tokens", BigInteger(), nullable=False),
    Column("batch_output_tokens", BigInteger(), nullable=False),
    Column("cache_write_input_tokens", BigInteger(), nullable=False),
    Column("duration_us", BigInteger(), nullable=False),
    Column("first_byte_us", BigInteger(), nullable=False),
    Column(
        "payload",
        LargeBinary(),
        nullable=False,
        comment="The whole event: infermesh.analytics.v1.UsageEvent.",
    ),
    # The event id breaks ties between events of one microsecond.
    Index("ix_usage_events_tenant_time", "tenant", "request_time", "event_id"),
    Index("ix_usage_events_time", "request_time", "event_id"),
    Index("ix_usage_events_tenant_day_model", "tenant", "day", "model"),
)

TAGS = Table(
    "usage_event_tags",
    METADATA,
    Column("event_id", Uuid(), ForeignKey("usage_events.event_id"), primary_key=True),
    Column("tag", LABEL, primary_key=True),
    Index("ix_usage_event_tags_tag", "tag"),
)
