"""Who may do what with which keys."""

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.errors import (
    FailedPrecondition,
    InfermeshError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from infermesh_common.identity.model import Identity, Role
from infermesh_governance.domain import rules
from infermesh_governance.domain.keys import KeyRecord, Origin
from infermesh_governance.domain.rules import KeyRequest

_NOW_US = 1_000_000
_ADMIN = Identity("acme", "a" * 16, Role.ADMIN)
_OPERATOR = Identity("", "b" * 16, Role.OPERATOR)
_TENANTS = {"acme", "globex"}
_REQUEST = KeyRequest(str(uuid.uuid4()), "", Role.MEMBER, "", None)

_names = st.sampled_from(["", "acme", "globex", "initech"])
_requests = st.builds(
    KeyRequest,
    request_id=st.uuids(version=4).map(str),
    tenant=_names,
    role=st.sampled_from([Role.MEMBER, Role.ADMIN, Role.OPERATOR]),
    description=st.text(max_size=20),
    expires_us=st.none(),
)


@given(_requests)
def test_an_admin_makes_keys_of_its_own_tenant_or_none(request: KeyRequest) -> None:
    allowed = request.tenant in ("", "acme") and request.role is not Role.OPERATOR
    try:
        tenant = rules.tenant_of_new_key(_ADMIN, request, _TENANTS)
    except PermissionDenied:
        assert not allowed
    else:
        assert allowed
        assert tenant == "acme"


@given(_requests)
def test_an_operator_makes_keys_of_tenants_that_exist_and_of_operators(
    request: KeyRequest,
) -> None:
    allowed = request.tenant == "" if request.role is Role.OPERATOR else request.tenant in _TENANTS
    try:
        tenant = rules.tenant_of_new_key(_OPERATOR, request, _TENANTS)
    except (InvalidArgument, NotFound):
        assert not allowed
    else:
        assert allowed
        assert tenant == request.tenant


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    [
        (replace(_REQUEST, request_id=""), "request_id", "REQUEST_ID_INVALID"),
        (replace(_REQUEST, request_id=str(uuid.uuid1())), "request_id", "REQUEST_ID_INVALID"),
        (replace(_REQUEST, request_id=f"{uuid.uuid4()}\n"), "request_id", "REQUEST_ID_INVALID"),
        (replace(_REQUEST, role=Role.SERVICE), "role", "ROLE_NOT_ISSUABLE"),
        (replace(_REQUEST, description="x" * 201), "description", "DESCRIPTION_TOO_LONG"),
        (replace(_REQUEST, team="Search"), "team", "TEAM_INVALID"),
        (replace(_REQUEST, team="-a"), "team", "TEAM_INVALID"),
        (replace(_REQUEST, team="a" * 64), "team", "TEAM_INVALID"),
        (replace(_REQUEST, team="a:b"), "team", "TEAM_INVALID"),
        (replace(_REQUEST, team="a\n"), "team", "TEAM_INVALID"),
        (replace(_REQUEST, role=Role.OPERATOR, team="a"), "team", "TEAM_NOT_ALLOWED"),
        (replace(_REQUEST, expires_us=_NOW_US), "expire_time", "EXPIRE_TIME_INVALID"),
        (replace(_REQUEST, expires_us=-1), "expire_time", "EXPIRE_TIME_INVALID"),
        (replace(_REQUEST, expires_us=2**62), "expire_time", "EXPIRE_TIME_INVALID"),
    ],
)
def test_a_wrong_request_is_refused_whoever_asks(
    request_: KeyRequest, field: str, reason: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rules.validated(request_, _NOW_US)

    assert (refused.value.field, refused.value.reason) == (field, reason)


def test_a_request_at_every_bound_is_accepted() -> None:
    request = replace(_REQUEST, description="ü" * 200, expires_us=_NOW_US + 1, team="a" * 63)

    assert rules.validated(request, _NOW_US) == request


def test_the_case_of_a_request_id_makes_no_second_request() -> None:
    shouted = replace(_REQUEST, request_id=_REQUEST.request_id.upper())

    assert rules.validated(shouted, _NOW_US) == _REQUEST


@pytest.mark.parametrize(
    ("caller", "tenant", "expected"),
    [
        (_ADMIN, "", "acme"),
        (_ADMIN, "acme", "acme"),
        (_OPERATOR, "", None),
        (_OPERATOR, "globex", "globex"),
    ],
)
def test_a_caller_lists_what_it_manages(
    caller: Identity, tenant: str, expected: str | None
) -> None:
    assert rules.tenant_to_list(caller, tenant, _TENANTS) == expected


@pytest.mark.parametrize(
    ("caller", "tenant", "error"),
    [
        # Whether another tenant exists is not an admin's business.
        (_ADMIN, "globex", PermissionDenied),
        (_ADMIN, "initech", PermissionDenied),
        (_OPERATOR, "initech", NotFound),
    ],
)
def test_a_caller_does_not_list_what_it_does_not_manage(
    caller: Identity, tenant: str, error: type[InfermeshError]
) -> None:
    with pytest.raises(error):
        rules.tenant_to_list(caller, tenant, _TENANTS)


@given(tenant=_names, origin=st.sampled_from(Origin))
def test_an_admin_cannot_tell_a_foreign_key_from_none(tenant: str, origin: Origin) -> None:
    record = KeyRecord("c" * 16, b"", tenant, Role.MEMBER, origin=origin)
    if tenant == "acme":
        return
    with pytest.raises(NotFound) as foreign:
        rules.revocable(_ADMIN, record)
    with pytest.raises(NotFound) as absent:
        rules.revocable(_ADMIN, None)

    assert (foreign.value.reason, foreign.value.message) == (
        absent.value.reason,
        absent.value.message,
    )


@pytest.mark.parametrize("origin", [Origin.DECLARED, Origin.BOOTSTRAP])
@pytest.mark.parametrize("caller", [_ADMIN, _OPERATOR])
def test_a_key_that_was_not_issued_is_not_revoked(caller: Identity, origin: Origin) -> None:
    record = KeyRecord("c" * 16, b"", "acme", Role.MEMBER, origin=origin)

    with pytest.raises(FailedPrecondition) as refused:
        rules.revocable(caller, record)

    assert refused.value.reason == "KEY_IS_DECLARED"


@pytest.mark.parametrize("pasted", ["", "im_0123456789abcdef_secret", "0123456789ABCDEF", "x" * 16])
def test_what_was_pasted_as_a_key_id_is_not_repeated(pasted: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rules.valid_key_id(pasted)

    assert not pasted or pasted not in refused.value.message
