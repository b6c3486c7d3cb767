"""How ready the resources are that governance works with, for their status."""

from collections.abc import Callable, Mapping

from infermesh_common.kubernetes.status import Assess, Readiness
from infermesh_common.resources.types import ApiKey, Resource, SecretRef, Tenant
from infermesh_common.secrets.faults import Fault


class ResourceReadiness:
    """Assesses the kinds whose status governance writes.

    Args:
        secret_fault: what is wrong with a secret; None when all is well.
        key_faults: what is wrong with declared keys, by the resource that names them.
    """

    def __init__(
        self,
        secret_fault: Callable[[SecretRef], Fault | None],
        key_faults: Callable[[], Mapping[str, str]],
    ) -> None:
        self._secret_fault = secret_fault
        self._key_faults = key_faults

    def kinds(self) -> Mapping[str, Assess]:
        """How to assess each kind."""
        return {"Tenant": self._tenant, "ApiKey": self._api_key}

    def _tenant(self, resource: Resource) -> Readiness:
        assert isinstance(resource, Tenant)
        if resource.spec.suspended:
            return Readiness(False, "Suspended", "Its calls are refused: spec.suspended is true.")
        return Readiness(True, "Ready", "Its calls are let in.")

    def _api_key(self, resource: Resource) -> Readiness:
        assert isinstance(resource, ApiKey)
        said = self._key_faults().get(f"ApiKey {resource.name}")
        fault = self._secret_fault(resource.spec.secret_ref)
        if fault is not None and fault.in_use and said is None:
            return Readiness(True, fault.reason, f"The key works for now. {fault.message}")
        if fault is not None:
            return Readiness(False, fault.reason, said or fault.message)
        if said is not None:
            return Readiness(False, "KeyUnusable", said)
        return Readiness(True, "Ready", "Its secret holds a key.")
