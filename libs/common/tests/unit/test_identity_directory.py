"""Nobody is taken for anybody else, and in doubt nobody gets in."""

from dataclasses import dataclass, field

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from infermesh.governance.v1 import identity_pb2, keys_pb2
from infermesh_common.context import RequestContext
from infermesh_common.errors import PermissionDenied, Unauthenticated, Unavailable
from infermesh_common.identity.directory import (
    CLAIMED_TENANT_HEADER,
    INTERNAL_TOKEN_HEADER,
    TENANT_HEADER,
    IdentityDirectory,
)
from infermesh_common.identity.model import Identity, Role, hash_key, parse_key_id
from infermesh_common.rpc.stages import IdentityGuard
from infermesh_common.testing.identity import FakeGovernance, bearer, new_api_key

TOKEN = "token-of-the-mesh"
MAX_AGE_S = 300.0
EXPIRES_AT_S = 2_000_000_000


@dataclass
class Clocks:
    """Clocks that a test turns."""

    monotonic_s: float = 1000.0
    now_s: float = 1_900_000_000.0
    directory: IdentityDirectory = field(init=False)

    def __post_init__(self) -> None:
        self.directory = IdentityDirectory(
            internal_token=TOKEN,
            max_age_s=MAX_AGE_S,
            monotonic=lambda: self.monotonic_s,
            now=lambda: self.now_s,
        )

    def governance(self) -> FakeGovernance:
        governance = FakeGovernance(self.directory)
        governance.push()
        return governance


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def headers(api_key: str, **further: str) -> dict[str, str]:
    return {**dict(bearer(api_key)), **further}


def reason_of(directory: IdentityDirectory, metadata: dict[str, str]) -> str:
    with pytest.raises((Unauthenticated, PermissionDenied, Unavailable)) as caught:
        directory.authenticate(metadata)
    secrets = [word for value in metadata.values() for word in value.split() if len(word) > 12]
    assert not any(secret in caught.value.message for secret in secrets)
    return caught.value.reason


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
def test_an_issued_key_gives_its_own_identity(governance: FakeGovernance, role: Role) -> None:
    key = governance.issue("acme", role)
    expected = Identity("acme", key.split("_")[1], role)
    for metadata in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer   {key} "},
        {"x-api-key": key},
        headers(key, **{TENANT_HEADER: "acme", CLAIMED_TENANT_HEADER: "acme"}),
    ):
        assert governance.directory.authenticate(metadata) == expected


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "im_0011", "Bearerim_x", "\t"]
)
def test_a_wrong_scheme_is_refused_whatever_else_is_sent(
    governance: FakeGovernance, authorization: str
) -> None:
    key = governance.issue("acme")
    metadata = {"authorization": authorization, "x-api-key": key}
    assert reason_of(governance.directory, metadata) == "INVALID_AUTHORIZATION"


def test_no_key_is_told_apart_from_a_wrong_one(governance: FakeGovernance) -> None:
    assert reason_of(governance.directory, {}) == "API_KEY_MISSING"
    assert reason_of(governance.directory, {"x-api-key": ""}) == "API_KEY_MISSING"


@given(text=st.text(max_size=120) | st.from_regex(r"im_[0-9a-f]{16}_[A-Za-z0-9-]{20,64}"))
def test_what_was_not_issued_is_refused(text: str) -> None:
    governance = FakeGovernance.create()
    governance.issue("acme")
    with pytest.raises(Unauthenticated):
        governance.directory.authenticate({"authorization": f"Bearer {text}"})


def test_an_unknown_id_and_a_wrong_secret_cannot_be_told_apart(governance: FakeGovernance) -> None:
    key = governance.issue("acme")
    other = governance.issue("acme")
    wrong_secret = "_".join(["im", key.split("_")[1], other.split("_")[2]])
    _, unknown = new_api_key()
    for presented in (wrong_secret, unknown, "im_short", key + "0", key[:-1], key.upper()):
        assert reason_of(governance.directory, headers(presented)) == "INVALID_API_KEY"


def test_only_the_bearer_of_the_secret_learns_that_a_key_is_revoked(
    governance: FakeGovernance,
) -> None:
    key = governance.issue("acme")
    governance.revoke(key)
    assert reason_of(governance.directory, headers(key)) == "API_KEY_REVOKED"
    assert reason_of(governance.directory, headers(key[:-4] + "0000")) == "INVALID_API_KEY"


def test_a_key_expires_at_its_very_moment(clocks: Clocks) -> None:
    governance = clocks.governance()
    key = governance.issue("acme")
    record = governance.records[key.split("_")[1]]
    record.expire_time.CopyFrom(Timestamp(seconds=EXPIRES_AT_S, nanos=500_000_000))
    governance.push()
    clocks.now_s = EXPIRES_AT_S + 0.499
    assert clocks.directory.authenticate(headers(key)).tenant == "acme"
    clocks.now_s = EXPIRES_AT_S + 0.5
    assert reason_of(clocks.directory, headers(key)) == "API_KEY_EXPIRED"


def test_a_suspended_or_unknown_tenant_is_refused(governance: FakeGovernance) -> None:
    key = governance.issue("acme")
    governance.suspended["acme"] = True
    governance.push()
    assert reason_of(governance.directory, headers(key)) == "TENANT_SUSPENDED"
    governance.suspended["acme"] = False
    governance.push()
    assert governance.directory.authenticate(headers(key)).tenant == "acme"
    del governance.suspended["acme"]
    governance.push()
    assert reason_of(governance.directory, headers(key)) == "TENANT_UNKNOWN"


def test_an_operator_needs_no_tenant(governance: FakeGovernance) -> None:
    key = governance.issue("", Role.OPERATOR)
    identity = governance.directory.authenticate(headers(key))
    assert (identity.tenant, identity.role) == ("", Role.OPERATOR)
    member = governance.issue("", Role.MEMBER)
    assert reason_of(governance.directory, headers(member)) == "TENANT_UNKNOWN"


@pytest.mark.parametrize("header", [TENANT_HEADER, CLAIMED_TENANT_HEADER])
@pytest.mark.parametrize("claimed", ["globex", "ACME", "acme ", "", "acme,globex"])
def test_a_key_cannot_claim_another_tenant(
    governance: FakeGovernance, header: str, claimed: str
) -> None:
    governance.issue("globex")
    key = governance.issue("acme")
    assert reason_of(governance.directory, headers(key, **{header: claimed})) == "TENANT_MISMATCH"
    operator = governance.issue("", Role.OPERATOR)
    if claimed:
        metadata = headers(operator, **{header: claimed})
        assert reason_of(governance.directory, metadata) == "TENANT_MISMATCH"


def test_the_internal_token_speaks_for_the_tenant_it_names(clocks: Clocks) -> None:
    # Not even a snapshot is needed: services must reach governance to get one.
    assert not clocks.directory.is_fresh()
    metadata = {INTERNAL_TOKEN_HEADER: TOKEN, TENANT_HEADER: "acme"}
    assert clocks.directory.authenticate(metadata) == Identity("acme", "internal", Role.SERVICE)
    assert clocks.directory.authenticate({INTERNAL_TOKEN_HEADER: TOKEN}).tenant == ""


@pytest.mark.parametrize("token", ["", " ", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é"])
def test_a_wrong_internal_token_is_refused_even_with_a_good_key(clocks: Clocks, token: str) -> None:
    key = clocks.governance().issue("acme")
    metadata = headers(key, **{INTERNAL_TOKEN_HEADER: token})
    assert reason_of(clocks.directory, metadata) == "INVALID_INTERNAL_TOKEN"


def test_an_empty_internal_token_is_never_in_force() -> None:
    with pytest.raises(ValueError, match="everybody"):
        IdentityDirectory(internal_token="", max_age_s=1)


def test_a_stale_snapshot_fails_closed(clocks: Clocks) -> None:
    governance = clocks.governance()
    key = governance.issue("acme")
    clocks.monotonic_s += MAX_AGE_S
    assert clocks.directory.authenticate(headers(key)).tenant == "acme"
    clocks.monotonic_s += 0.001
    assert not clocks.directory.is_fresh()
    assert reason_of(clocks.directory, headers(key)) == "IDENTITY_SNAPSHOT_STALE"
    # Not even who is known to be wrong is told so.
    assert reason_of(clocks.directory, headers("im_x")) == "IDENTITY_SNAPSHOT_STALE"


def test_without_a_snapshot_nobody_gets_in(clocks: Clocks) -> None:
    assert clocks.directory.age_s() == float("inf")
    assert reason_of(clocks.directory, headers(new_api_key()[1])) == "IDENTITY_SNAPSHOT_STALE"


def heartbeat(version: int, staleness_s: int = 0) -> identity_pb2.WatchIdentitiesResponse:
    return identity_pb2.WatchIdentitiesResponse(
        version=version, staleness=Duration(seconds=staleness_s)
    )


def test_a_heartbeat_of_the_version_held_refreshes_and_of_another_does_not(clocks: Clocks) -> None:
    clocks.governance()
    version = clocks.directory.version
    clocks.monotonic_s += 100
    for other in (version - 1, version + 1, 0):
        clocks.directory.apply(heartbeat(other))
        assert clocks.directory.age_s() == 100
    clocks.directory.apply(heartbeat(version))
    assert clocks.directory.age_s() == 0
    clocks.directory.apply(heartbeat(version, staleness_s=40))
    assert clocks.directory.age_s() == 40


def test_a_snapshot_is_as_old_as_its_sender_says(clocks: Clocks) -> None:
    message = heartbeat(7, staleness_s=301)
    message.snapshot.SetInParent()
    clocks.directory.apply(message)
    assert clocks.directory.version == 7
    assert not clocks.directory.is_fresh()


def test_a_heartbeat_before_any_snapshot_confirms_nothing_that_could_be_used(
    clocks: Clocks,
) -> None:
    for version in (0, 3):
        clocks.directory.apply(heartbeat(version))
    assert not clocks.directory.is_fresh()


def test_a_new_snapshot_replaces_the_old_one_as_a_whole(governance: FakeGovernance) -> None:
    first = governance.issue("acme")
    governance.records.clear()
    second = governance.issue("globex")
    assert reason_of(governance.directory, headers(first)) == "INVALID_API_KEY"
    assert governance.directory.authenticate(headers(second)).tenant == "globex"


def test_a_key_of_an_unknown_role_is_left_out_and_the_others_work(
    governance: FakeGovernance,
) -> None:
    known, odd, unset = (governance.issue("acme") for _ in range(3))
    setattr(governance.records[odd.split("_")[1]], "role", 99)
    governance.records[unset.split("_")[1]].role = keys_pb2.ROLE_UNSPECIFIED
    governance.push()
    assert governance.directory.authenticate(headers(known)).tenant == "acme"
    for key in (odd, unset):
        assert reason_of(governance.directory, headers(key)) == "INVALID_API_KEY"


@given(
    tenants=st.lists(st.sampled_from(["acme", "globex", "initech"]), min_size=2, max_size=6),
    data=st.data(),
)
def test_no_two_keys_authenticate_as_the_same_identity(
    tenants: list[str], data: st.DataObject
) -> None:
    governance = FakeGovernance.create()
    issued = {governance.issue(tenant): tenant for tenant in tenants}
    seen: dict[Identity, str] = {}
    for key, tenant in issued.items():
        identity = governance.directory.authenticate(headers(key))
        assert identity.tenant == tenant
        assert seen.setdefault(identity, key) == key
        # Whatever is changed in a key, it is that identity no more.
        position = data.draw(st.integers(0, len(key) - 1))
        letter = data.draw(st.sampled_from("0123456789abcdefXYZ_- "))
        changed = key[:position] + letter + key[position + 1 :]
        if changed.strip() != key:
            assert reason_of(governance.directory, headers(changed)) != ""


@given(text=st.text(max_size=140))
def test_only_the_published_form_is_taken_for_a_key(text: str) -> None:
    key_id = parse_key_id(text)
    assert key_id is None or text.startswith(f"im_{key_id}_")


def test_a_generated_key_is_of_the_published_form() -> None:
    key_id, key = new_api_key()
    assert parse_key_id(key) == key_id
    assert parse_key_id(key + "\n") is None
    assert len(hash_key(key)) == 32


def test_the_guard_leaves_open_methods_alone(governance: FakeGovernance) -> None:
    guard = IdentityGuard(governance.directory, frozenset({"/a/Open"}))
    call = RequestContext("/a/Open", "id", {}, 0.0, 0)
    guard.admit(call)
    with pytest.raises(Unauthenticated, match="needs an API key"):
        call.caller()
    with pytest.raises(Unauthenticated):
        guard.admit(RequestContext("/a/Closed", "id", {}, 0.0, 0))
