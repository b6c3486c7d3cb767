"""Usage events and their tags."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# SQLite's own numbers would round.
_MONEY = sa.Numeric().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Makes both tables."""
    op.create_table(
        "usage_events",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="Of the request, in UTC."),
        sa.Column(
            "request_time",
            sa.BigInteger(),
            nullable=False,
            comment="Microseconds since the epoch, UTC.",
        ),
        sa.Column("key_id", _TEXT, nullable=False),
        sa.Column("model", _TEXT, nullable=False),
        sa.Column("provider", _TEXT, nullable=False),
        sa.Column("requested_model", _TEXT, nullable=False),
        sa.Column("protocol", _TEXT, nullable=False),
        sa.Column("task", _TEXT, nullable=False),
        sa.Column("streamed", sa.Boolean(), nullable=False),
        sa.Column(
            "outcome",
            sa.SmallInteger(),
            nullable=False,
            comment="infermesh.analytics.v1.Outcome",
        ),
        sa.Column("error_reason", _TEXT, nullable=False),
        sa.Column(
            "cache_status",
            sa.SmallInteger(),
            nullable=False,
            comment="infermesh.common.v1.CacheStatus",
        ),
        sa.Column(
            "tier", sa.SmallInteger(), nullable=False, comment="infermesh.common.v1.CacheTier"
        ),
        sa.Column("cost", _MONEY, comment="US dollars; NULL is unknown."),
        sa.Column("baseline_cost", _MONEY, comment="US dollars; NULL is unknown."),
        sa.Column("saved", _MONEY, comment="baseline_cost - cost; NULL when either is."),
        sa.Column("baseline_model", _TEXT, nullable=False),
        sa.Column("price_version", _TEXT, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("batch_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("batch_output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("duration_us", sa.BigInteger(), nullable=False),
        sa.Column("first_byte_us", sa.BigInteger(), nullable=False),
        sa.Column(
            "payload",
            sa.LargeBinary(),
            nullable=False,
            comment="The whole event: infermesh.analytics.v1.UsageEvent.",
        ),
    )
    for name, columns in {
        "ix_usage_events_tenant_time": ["tenant", "request_time", "event_id"],
        "ix_usage_events_time": ["request_time", "event_id"],
        "ix_usage_events_tenant_day_model": ["tenant", "day", "model"],
    }.items():
        op.create_index(name, "usage_events", columns)
    op.create_table(
        "usage_event_tags",
        sa.Column("event_id", sa.Uuid(), sa.ForeignKey("usage_events.event_id"), primary_key=True),
        sa.Column("tag", _TEXT, primary_key=True),
    )
    op.create_index("ix_usage_event_tags_tag", "usage_event_tags", ["tag"])


def downgrade() -> None:
    """Not offered: it would delete the ledger."""
    raise NotImplementedError("the first version of the ledger cannot be taken back")
