"""Waits until workloads are as they were asked to be."""

from __future__ import annotations

from tests.cluster.diagnostics import diagnose
from tests.cluster.documents import Document, name, text
from tests.cluster.kubectl import Kubectl
from tests.cluster.polling import NotInTime, until
from tests.cluster.states import refused, trouble, unfinished

WORKLOADS = "deployments,statefulsets,daemonsets"


class NotReady(AssertionError):
    """Workloads did not become ready. The message has all that helps to find out why."""


def wait_ready(kubectl: Kubectl, selector: str = "", *, within_s: float = 180) -> None:
    """Returns when all workloads with these labels have all their pods, new and ready.

    Args:
        kubectl: in their namespace.
        selector: labels; without, all of the namespace.
        within_s: time it may take.

    Raises:
        NotReady: it took longer, there are no workloads, or it cannot come to a good end.
    """
    last: list[str] = ["there are no workloads"]

    def look() -> bool:
        workloads = kubectl.list(WORKLOADS, selector)
        last[:] = [
            f"{text(workload, 'kind')} {name(workload)}: {why}"
            for workload in workloads
            if (why := unfinished(workload)) is not None
        ] or ([] if workloads else ["there are no workloads"])
        if last:
            _give_up_if_hopeless(kubectl, workloads, selector)
        return not last

    try:
        until(look, what="workloads to become ready", within_s=within_s, every_s=1)
    except NotInTime as error:
        raise NotReady("\n".join([str(error), *last, diagnose(kubectl)])) from None


def _give_up_if_hopeless(kubectl: Kubectl, workloads: list[Document], selector: str) -> None:
    reasons = [
        f"{text(workload, 'kind')} {name(workload)}: {why}"
        for workload in workloads
        if (why := refused(workload)) is not None
    ]
    reasons += [
        f"pod {name(pod)}: {why}"
        for pod in kubectl.list("pods", selector)
        if (why := trouble(pod)) is not None
    ]
    if reasons:
        raise NotReady("\n".join([*reasons, diagnose(kubectl)]))
