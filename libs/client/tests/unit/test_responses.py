"""What the mesh says, in the SDK's words: exact money, unknown stays unknown."""

from decimal import Decimal

import pytest

from infermesh import CacheStatus, InternalError, Outcome, Role, Tier
from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh.common.v1 import decision_pb2, money_pb2
from infermesh.governance.v1 import keys_pb2
from infermesh.wire import records, responses


@pytest.mark.parametrize(
    "amount", ["0.0000125", "-3", "0", "123456789012345678901234567890.000000000000000000001"]
)
def test_amounts_keep_every_digit(amount: str) -> None:
    message = decision_pb2.Decision(cost=money_pb2.Money(amount=amount, currency_code="EUR"))
    decision = responses.decision(message)
    assert decision.cost is not None
    assert f"{decision.cost:f}" == amount
    assert decision.currency == "EUR"


def test_what_is_absent_is_unknown_and_not_zero() -> None:
    decision = responses.decision(decision_pb2.Decision())
    amounts = (decision.cost, decision.baseline_cost, decision.saved)
    assert amounts == (None, None, None)
    assert (decision.usage, decision.baseline_usage, decision.entry_age_s) == (None, None, None)
    row = records.usage_row(ledger_pb2.UsageRow())
    assert (row.cost, row.baseline_cost, row.saved, row.currency) == (None, None, None, "")


@pytest.mark.parametrize("amount", ["", "12,5", "NaN", "Infinity"])
def test_an_amount_that_is_no_number_is_an_error(amount: str) -> None:
    message = decision_pb2.Decision(cost=money_pb2.Money(amount=amount, currency_code="USD"))
    with pytest.raises(InternalError) as failed:
        responses.decision(message)
    assert failed.value.reason == "INVALID_AMOUNT"


def test_amounts_in_two_currencies_are_never_put_side_by_side() -> None:
    row = ledger_pb2.UsageRow(
        cost=money_pb2.Money(amount="1", currency_code="USD"),
        saved=money_pb2.Money(amount="1", currency_code="EUR"),
    )
    with pytest.raises(InternalError):
        records.usage_row(row)


def test_every_tier_and_status_of_the_contract_is_known() -> None:
    for tier in decision_pb2.CacheTier.values()[1:]:
        assert responses.decision(decision_pb2.Decision(tier=tier)).tier is not Tier.UNKNOWN
    for status in decision_pb2.CacheStatus.values()[1:]:
        known = responses.decision(decision_pb2.Decision(cache_status=status)).cache_status
        assert known is not CacheStatus.UNKNOWN
    for outcome in events_pb2.Outcome.values()[1:]:
        event = records.usage_event(events_pb2.UsageEvent(outcome=outcome))
        assert event.outcome is not Outcome.UNKNOWN
    for role in keys_pb2.Role.values()[1:]:
        assert records.key(keys_pb2.Key(role=role)).role is not Role.UNKNOWN


def test_what_a_newer_mesh_says_is_unknown_and_no_error() -> None:
    message = decision_pb2.Decision.FromString(b"\x10\x63\x18\x63")
    decision = responses.decision(message)
    assert (decision.tier, decision.cache_status) == (Tier.UNKNOWN, CacheStatus.UNKNOWN)
    unspecified = responses.decision(decision_pb2.Decision())
    assert unspecified.tier is Tier.UNKNOWN


def test_a_decision_is_read_completely(decision: decision_pb2.Decision) -> None:
    read = responses.decision(decision)
    assert read.saved == Decimal("0.0009875")
    assert read.usage is not None and read.usage.total_tokens == 16
    assert read.entry_age_s == 1.5
    assert [(stage.stage, stage.duration_ms) for stage in read.stages] == [
        ("cache.lookup", 1.5),
        ("model", 30.0),
    ]
    assert [each.estimated_cost for each in read.candidates] == [Decimal("0.00002"), None]
    for name in decision_pb2.Decision.DESCRIPTOR.fields_by_name:
        ours = {"entry_age": "entry_age_s"}.get(name, name)
        assert getattr(read, ours) not in (None, "", ()), name


def test_an_issued_keys_secret_is_in_no_representation() -> None:
    response = keys_pb2.CreateKeyResponse(key=keys_pb2.Key(key_id="k"), secret="im_k_hush")
    issued = records.issued_key(response)
    assert issued.secret == "im_k_hush"
    assert "hush" not in repr(issued)
