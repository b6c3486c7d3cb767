"""What the reading commands print, to the character, and their JSON."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import timestamp_pb2
from typer.testing import Result

from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import money_pb2, usage_pb2
from infermesh.governance.v1 import keys_pb2, tenants_pb2
from infermesh.router.v1 import operations_pb2
from infermesh.testing import ScriptedMesh

Command = Callable[..., Result]
Dollars = Callable[[str], money_pb2.Money]


def lines(text: str) -> list[str]:
    """Lines without the blanks that fill a table up."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def total(dollars: Dollars) -> ledger_pb2.UsageRow:
    """Of all inferences."""
    return ledger_pb2.UsageRow(
        requests=4,
        cache_hits=1,
        hit_rate=0.25,
        failures=1,
        cost=dollars("0.0000125"),
        baseline_cost=dollars("0.0010000"),
        saved=dollars("0.0009875"),
        unpriced_requests=2,
        usage=usage_pb2.TokenUsage(input_tokens=1000, output_tokens=234),
    )


@pytest.fixture
def grouped(mesh: ScriptedMesh, total: ledger_pb2.UsageRow, dollars: Dollars) -> None:
    """Usage by model and day. The first call is for the totals."""
    rows = [
        ledger_pb2.UsageRow(
            model="[small]",
            day="2026-01-02",
            requests=3,
            cache_hits=1,
            hit_rate=1 / 3,
            cost=dollars("0.0000125"),
            baseline_cost=dollars("0.0010000"),
            saved=dollars("0.0009875"),
        ),
        ledger_pb2.UsageRow(model="odd", day="2026-01-02", requests=1, unpriced_requests=2),
    ]
    totals = ledger_pb2.QueryUsageResponse(rows=[total])
    mesh.script("QueryUsage", totals, ledger_pb2.QueryUsageResponse(rows=rows))


@pytest.mark.usefixtures("grouped")
def test_savings_by_model_and_day(infermesh: Command, mesh: ScriptedMesh) -> None:
    ran = infermesh("savings", "--by", "model", "--by", "day", "--tenant", "demo")
    assert ran.exit_code == 0
    assert lines(ran.stdout) == [
        "model    day         requests  hits  hit rate  failed  tokens        cost    baseline"
        "       saved  saved %  unpriced",
        "─" * 116,
        "[small]  2026-01-02         3     1     33.3%       0       0  $0.0000125  $0.0010000"
        "  $0.0009875    98.8%         0",
        "odd      2026-01-02         1     0      0.0%       0       0     unknown     unknown"
        "     unknown        -         2",
        "total                       4     1     25.0%       1    1234  $0.0000125  $0.0010000"
        "  $0.0009875    98.8%         2",
        "2 of the requests have an unknown cost and are in no sum of money.",
    ]
    totals, by = (call.request for call in mesh.received("QueryUsage"))
    assert isinstance(totals, ledger_pb2.QueryUsageRequest)
    assert isinstance(by, ledger_pb2.QueryUsageRequest)
    assert (list(totals.group_by), list(by.group_by)) == ([], [2, 4])
    assert totals.filter.tenant == by.filter.tenant == "demo"


@pytest.mark.usefixtures("grouped")
def test_savings_as_json_are_exact(infermesh: Command) -> None:
    found = json.loads(infermesh("savings", "--by", "model", "--by", "day", "--json").stdout)
    assert found["totals"]["saved"] == "0.0009875"
    assert [row["model"] for row in found["rows"]] == ["[small]", "odd"]
    assert found["rows"][1]["cost"] is None


def test_savings_without_a_grouping_are_one_row(
    infermesh: Command, mesh: ScriptedMesh, total: ledger_pb2.UsageRow
) -> None:
    total.unpriced_requests = 0
    # A baseline of an event whose cost is unknown: no share can be stated.
    total.baseline_cost.amount = "2"
    mesh.script("QueryUsage", ledger_pb2.QueryUsageResponse(rows=[total]))
    assert lines(infermesh("savings").stdout)[2:] == [
        "       4     1     25.0%       1    1234  $0.0000125        $2  $0.0009875        -"
        "         0"
    ]
    assert len(mesh.received("QueryUsage")) == 1


def test_savings_of_nothing(infermesh: Command, mesh: ScriptedMesh) -> None:
    mesh.script("QueryUsage", ledger_pb2.QueryUsageResponse(rows=[ledger_pb2.UsageRow()]))
    assert infermesh("savings").stdout == "No inferences yet.\n"


def test_savings_of_a_time(
    infermesh: Command, mesh: ScriptedMesh, total: ledger_pb2.UsageRow
) -> None:
    mesh.script("QueryUsage", ledger_pb2.QueryUsageResponse(rows=[total]))
    before = datetime.now(UTC)
    assert infermesh("savings", "--since", "2026-01-02", "--until", "7d").exit_code == 0
    request = mesh.calls[0].request
    assert isinstance(request, ledger_pb2.QueryUsageRequest)
    chosen = request.filter
    assert chosen.start_time.ToDatetime(tzinfo=UTC) == datetime(2026, 1, 2, tzinfo=UTC)
    until = chosen.end_time.ToDatetime(tzinfo=UTC)
    assert before <= until + timedelta(days=7) <= datetime.now(UTC)
    ran = infermesh("savings", "--since", "yesterday")
    assert (ran.exit_code, len(mesh.calls)) == (2, 1)
    assert ran.stderr.startswith("Error: --since yesterday is neither a date")


def test_an_inference_is_explained(
    infermesh: Command, mesh: ScriptedMesh, event: events_pb2.UsageEvent
) -> None:
    mesh.script("GetEvent", ledger_pb2.GetEventResponse(event=event))
    ran = infermesh("explain", "d-1")
    assert lines(ran.stdout) == [
        "inference      d-1",
        "─" * 115,
        "asked          2026-01-02 03:04:05 UTC by demo with key k1",
        "for            auto (openai.chat, task general)",
        "tags           team=search, x",
        "outcome        succeeded",
        "tier           none (cache miss)",
        "entry age      2 s",
        "model          small of acme-ai",
        "why            Cheapest model that meets the floor [0.7].",
        "semantic       refused: YOUNG, similarity 0.900; at most 0.00% of requests wrong at 95%"
        " confidence, 1.00% permitted",
        "stored         stored",
        "tried before   tiny: timed out",
        "cost           $0.0000125",
        "baseline       $0.0010000 on large",
        "saved          $0.0009875",
        "tokens billed  10 input, 4 output, 2 reasoning",
        "prices         2026-01",
        "time           32 ms, first byte after 9.4 ms",
        "fingerprint    " + "ab" * 32,
        "configuration  r7",
        "request        r-1",
        "candidate  eligible  estimated cost  why",
        "─" * 45,
        "small      yes             $0.00002  ok",
        "odd        no               unknown  no tools",
        "stage           time",
        "─" * 62,
        "cache.lookup  1.5 ms  ██",
        "model          30 ms  " + "█" * 40,
    ]


def test_an_explanation_of_a_failure_has_no_empty_lines(
    infermesh: Command, mesh: ScriptedMesh
) -> None:
    failed = events_pb2.UsageEvent(
        event_id="d-2", outcome=events_pb2.OUTCOME_FAILED, error_reason="PROVIDER_DOWN"
    )
    failed.decision.usage.SetInParent()
    mesh.script("GetEvent", ledger_pb2.GetEventResponse(event=failed))
    shown = lines(infermesh("explain", "d-2").stdout)
    assert "outcome        failed PROVIDER_DOWN" in shown
    assert "tokens billed  0" in shown
    assert "cost           unknown" in shown
    assert not any(line.split(" ")[0] in ("model", "tags", "candidate", "stage") for line in shown)


def test_an_explanation_as_json(
    infermesh: Command, mesh: ScriptedMesh, event: events_pb2.UsageEvent
) -> None:
    mesh.script("GetEvent", ledger_pb2.GetEventResponse(event=event))
    found = json.loads(infermesh("explain", "d-1", "--json").stdout)
    assert found["request_time"] == "2026-01-02T03:04:05+00:00"
    assert found["decision"]["stages"][0] == {"stage": "cache.lookup", "duration_ms": 1.5}


def test_models_are_listed(infermesh: Command, mesh: ScriptedMesh) -> None:
    model = operations_pb2.RegisteredModel(
        name="small",
        provider="acme",
        aliases=["s", "t"],
        capabilities=["tools"],
        context_tokens=8192,
        quality={"general": 0.7, "code": 0.5},
        latency_ms=300,
        priced=True,
    )
    odd = operations_pb2.RegisteredModel(name="odd", provider="acme")
    mesh.script(
        "ListRegisteredModels", operations_pb2.ListRegisteredModelsResponse(models=[model, odd])
    )
    assert lines(infermesh("models").stdout) == [
        "model  provider  aliases  capabilities  context tokens  quality by task"
        "        typical latency  price",
        "─" * 103,
        "small  acme      s, t     tools                   8192  code 0.5, general 0.7"
        "           300 ms  known",
        "odd    acme                                          0"
        "                              not stated  unknown",
    ]
    assert json.loads(infermesh("models", "--json").stdout)[1]["latency_ms"] is None


@pytest.mark.parametrize(
    ("status", "code"), [("SERVING", 0), ("DEGRADED", 0), ("NOT_SERVING", 4), ("", 4)]
)
def test_health_is_an_exit_code_too(
    infermesh: Command, mesh: ScriptedMesh, status: str, code: int
) -> None:
    response = operations_pb2.GetHealthResponse(
        status=status, dependencies={"redis": "SERVING"}, version="0.1.0"
    )
    mesh.script("GetHealth", response)
    ran = infermesh("health")
    assert ran.exit_code == code
    assert lines(ran.stdout) == [
        f"{status} (version 0.1.0, configuration unknown)",
        "dependency  status",
        "─" * 19,
        "redis       SERVING",
    ]
    as_json = infermesh("health", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["status"]) == (code, status)


def test_a_new_key_alone_is_on_stdout(infermesh: Command, mesh: ScriptedMesh) -> None:
    key = keys_pb2.Key(key_id="k1", tenant="demo", role=keys_pb2.ROLE_ADMIN)
    mesh.script("CreateKey", keys_pb2.CreateKeyResponse(key=key, secret="im_k1_s"))
    ran = infermesh("keys", "create", "--tenant", "demo", "--role", "admin")
    assert (ran.exit_code, ran.stdout) == (0, "im_k1_s\n")
    assert ran.stderr == (
        "Key k1 of demo, role admin, expires never. Keep it now: it is not shown again.\n"
    )
    before = datetime.now(UTC)
    as_json = infermesh("keys", "create", "--expires-in-days", "30", "--team", "ml", "--json")
    assert json.loads(as_json.stdout)["secret"] == "im_k1_s"
    request = mesh.calls[1].request
    assert isinstance(request, keys_pb2.CreateKeyRequest) and request.team == "ml"
    expiry = request.expire_time.ToDatetime(tzinfo=UTC)
    assert before <= expiry - timedelta(days=30) <= datetime.now(UTC)


def test_a_role_no_key_can_have_is_a_usage_error(infermesh: Command, mesh: ScriptedMesh) -> None:
    ran = infermesh("keys", "create", "--role", "king")
    assert (ran.exit_code, mesh.calls) == (2, [])
    assert ran.stderr == (
        "Error: A key cannot have the role 'king'; it is one of member, admin, operator."
        " (INVALID_ROLE)\n"
    )


def test_keys_are_listed_and_revoked(infermesh: Command, mesh: ScriptedMesh) -> None:
    made = timestamp_pb2.Timestamp(seconds=1_767_323_045)
    keys = [
        keys_pb2.Key(
            key_id="k1",
            tenant="demo",
            role=keys_pb2.ROLE_MEMBER,
            description="ci \x1b[2J",
            team="ml",
            create_time=made,
            expire_time=made,
        ),
        keys_pb2.Key(key_id="k2", role=keys_pb2.ROLE_OPERATOR, revoke_time=made),
    ]
    mesh.script("ListKeys", keys_pb2.ListKeysResponse(keys=keys))
    mesh.script("RevokeKey", keys_pb2.RevokeKeyResponse(key=keys[0]))
    when = "2026-01-02 03:04:05 UTC"
    assert lines(infermesh("keys", "list", "--tenant", "demo").stdout) == [
        f"{'key':<5}{'tenant':<8}{'team':<6}{'role':<10}{'description':<13}{'created':<25}"
        f"{'expires':<25}revoked",
        "─" * 115,
        f"k1   demo    ml    member    {'ci �[2J':<13}{when}  {when}  no",
        f"k2   -       -     operator  {'':<13}{'-':<23}  {'never':<23}  {when}",
    ]
    assert [key["role"] for key in json.loads(infermesh("keys", "list", "--json").stdout)] == [
        "member",
        "operator",
    ]
    assert infermesh("keys", "revoke", "k1").stdout == "Key k1 of demo is revoked.\n"
    assert json.loads(infermesh("keys", "revoke", "k1", "--json").stdout)["key_id"] == "k1"


def test_tenants_are_listed(infermesh: Command, mesh: ScriptedMesh) -> None:
    tenant = tenants_pb2.Tenant(name="demo", display_name="Demonstration", suspended=True)
    mesh.script("ListTenants", tenants_pb2.ListTenantsResponse(tenants=[tenant]))
    assert lines(infermesh("tenants").stdout) == [
        "tenant  name           suspended",
        "─" * 32,
        "demo    Demonstration  yes",
    ]
    assert json.loads(infermesh("tenants", "--json").stdout) == [
        {"name": "demo", "display_name": "Demonstration", "suspended": True}
    ]


def test_empty_lists_say_so(infermesh: Command, mesh: ScriptedMesh) -> None:
    mesh.script("ListKeys", keys_pb2.ListKeysResponse())
    mesh.script("ListTenants", tenants_pb2.ListTenantsResponse())
    mesh.script("ListRegisteredModels", operations_pb2.ListRegisteredModelsResponse())
    assert infermesh("keys", "list").stdout == "There are no keys.\n"
    assert infermesh("tenants").stdout == "There are no tenants.\n"
    assert infermesh("models").stdout == "No models are registered.\n"
    assert infermesh("models", "--json").stdout == "[]\n"


def test_the_cache_is_measured_and_emptied(infermesh: Command, mesh: ScriptedMesh) -> None:
    stats = cache_pb2.GetStatsResponse(entries=3, stored_bytes=1024, limit_bytes=4096, epoch=2)
    mesh.script("GetStats", stats)
    mesh.script("Invalidate", cache_pb2.InvalidateResponse(count=3))
    assert lines(infermesh("cache", "stats").stdout) == [
        "entries  bytes stored  bytes allowed  epoch",
        "─" * 43,
        "      3          1024           4096      2",
    ]
    assert json.loads(infermesh("cache", "stats", "--json").stdout)["limit_bytes"] == 4096
    assert infermesh("cache", "invalidate", "--all").stdout == "3 entries were removed.\n"
    trial = infermesh("cache", "invalidate", "--tag", "x", "--dry-run")
    assert trial.stdout == "3 entries would be removed.\n"
    as_json = infermesh("cache", "invalidate", "--model", "m", "--json")
    assert json.loads(as_json.stdout) == {"count": 3, "dry_run": False}
    assert [call.request for call in mesh.received("Invalidate")] == [
        cache_pb2.InvalidateRequest(all=True),
        cache_pb2.InvalidateRequest(tag="x", dry_run=True),
        cache_pb2.InvalidateRequest(model="m"),
    ]
    nothing = infermesh("cache", "invalidate")
    assert (nothing.exit_code, len(mesh.received("Invalidate"))) == (2, 3)
