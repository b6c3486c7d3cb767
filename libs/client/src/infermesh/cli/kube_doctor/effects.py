"""Which findings only follow from others: what to repair comes first, the rest repairs itself."""

from collections.abc import Sequence

from infermesh.cli.kube_doctor.components import DEPENDENTS
from infermesh.cli.kube_doctor.findings import Finding
from infermesh.cli.kube_doctor.findings import FindingClass as C

_IDLE = frozenset({C.ENDPOINTS, C.CONTROLLER, C.REVISION, C.AUTOSCALING, C.DISRUPTION})
_DOWN = _IDLE | {C.DEPENDENCY, C.ROLLOUT}

# By the class of a cause: classes of effects in the same component.
_SAME_COMPONENT: dict[C, frozenset[C]] = {
    C.SECRET: _DOWN,
    C.STORAGE: _DOWN,
    C.SCHEDULING: _DOWN,
    C.IMAGE: _DOWN,
    C.MEMORY: _DOWN | {C.READINESS},
    C.CRASH: _DOWN | {C.READINESS},
    # Not of what its own pods tell, which is nearer to the cause.
    C.DEPENDENCY: _IDLE,
    C.READINESS: _DOWN,
    C.ROLLOUT: _IDLE | {C.DEPENDENCY},
}
# Of the components that cannot work without one that is down.
_OF_DEPENDENTS = _DOWN | {C.READINESS}
# Of everything, when the definitions of the resources are missing.
_OF_ALL = _DOWN | {C.READINESS, C.KEY, C.RESOURCE}


def separate(findings: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Findings to act on, and those that follow from them.

    What follows from another finding can have consequences itself, so causes are looked for among
    all. No two classes are each other's cause, so that something to act on always remains.

    Returns:
        (causes, consequences), each in the given order.
    """
    causes: list[Finding] = []
    consequences: list[Finding] = []
    for finding in findings:
        hidden = any(_explains(other, finding) for other in findings)
        (consequences if hidden else causes).append(finding)
    return causes, consequences


def _explains(cause: Finding, effect: Finding) -> bool:
    if cause is effect or not cause.is_error:
        return False
    if effect.needs.intersection(cause.about):
        return True
    if cause.kind is C.DEFINITIONS:
        return effect.kind in _OF_ALL
    if not cause.component:
        return False
    if cause.component == effect.component:
        return effect.kind in _SAME_COMPONENT.get(cause.kind, frozenset())
    dependent = effect.component in DEPENDENTS.get(cause.component, frozenset())
    return cause.kind is C.DEPENDENCY and dependent and effect.kind in _OF_DEPENDENTS
