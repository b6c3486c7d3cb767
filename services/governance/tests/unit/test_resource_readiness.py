"""What the status of a tenant or a declared key says is true, and says what to do."""

from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import SecretRef
from infermesh_common.secrets.faults import Fault
from infermesh_common.testing.resources import resource
from infermesh_governance.application.resource_readiness import ResourceReadiness

KEY = parse(resource("ApiKey", "ci", tenant="acme", secretRef={"file": "/run/ci"}), "")
SEALED = Fault("VaultSealed", "Vault is sealed: unseal it.")


def assessed(secret: Fault | None = None, key: str | None = None) -> tuple[bool, str, str]:
    def fault(ref: SecretRef) -> Fault | None:
        assert ref.file == "/run/ci"
        return secret

    faults = {"ApiKey other": "none of its business", **({"ApiKey ci": key} if key else {})}
    found = ResourceReadiness(fault, lambda: faults).kinds()["ApiKey"](KEY)
    return found.ready, found.reason, found.message


def test_a_key_that_can_be_read_is_ready() -> None:
    assert assessed()[:2] == (True, "Ready")


def test_a_key_that_cannot_be_read_says_why() -> None:
    assert assessed(SEALED) == (False, "VaultSealed", SEALED.message)
    assert assessed(SEALED, "and the key it was stays") == (
        False,
        "VaultSealed",
        "and the key it was stays",
    )


def test_a_key_that_is_in_use_though_its_source_is_away_is_ready() -> None:
    in_use = Fault(SEALED.reason, SEALED.message, in_use=True)
    ready, reason, message = assessed(in_use)
    assert (ready, reason) == (True, "VaultSealed") and SEALED.message in message


def test_a_secret_that_is_no_key_is_not_ready() -> None:
    assert assessed(None, "holds no key") == (False, "KeyUnusable", "holds no key")


def test_a_suspended_tenant_is_not_ready() -> None:
    kinds = ResourceReadiness(lambda ref: None, dict).kinds()
    assert kinds["Tenant"](parse(resource("Tenant", "acme"), "")).ready
    suspended = kinds["Tenant"](parse(resource("Tenant", "acme", suspended=True), ""))
    assert (suspended.ready, suspended.reason) == (False, "Suspended")
