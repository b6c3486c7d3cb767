"""What happens to pods: they are killed, replaced one after the other, made more or fewer."""

from __future__ import annotations

from tests.cluster.documents import Document, name, text
from tests.cluster.kubectl import Kubectl
from tests.cluster.polling import until
from tests.cluster.states import is_ready, unfinished


class Faults:
    """Does it, in one namespace.

    Args:
        kubectl: in the namespace.
    """

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def kill(self, pod: str) -> None:
        """Ends a pod without warning (SIGKILL, no time to drain), as when its node is lost."""
        self._kubectl.delete("pod", pod, "--grace-period=0", "--force", "--wait")

    def evict(self, pod: str) -> None:
        """Ends a pod as a drain of its node does: it may be refused, then it has time to finish.

        Raises:
            CommandFailed: a PodDisruptionBudget is against it, among others.
        """
        path = f"/api/v1/namespaces/{self._kubectl.namespace}/pods/{pod}/eviction"
        eviction = (
            '{"apiVersion":"policy/v1","kind":"Eviction","metadata":'
            f'{{"name":"{pod}","namespace":"{self._kubectl.namespace}"}}}}'
        )
        self._kubectl.run("create", "--raw", path, "-f", "-", given=eviction)

    def restart(self, workload: str, *, within_s: float = 180) -> None:
        """Replaces all pods of a workload ("deployment/x") as an upgrade does, and waits.

        Raises:
            NotInTime: it took longer.
        """
        self._kubectl.run("rollout", "restart", workload)
        self.settled(workload, within_s=within_s)

    def scale(self, workload: str, replicas: int, *, within_s: float = 120) -> None:
        """Makes a workload have that many pods, and waits.

        Raises:
            NotInTime: it took longer.
        """
        self._kubectl.run("scale", workload, f"--replicas={replicas}")
        self.settled(workload, within_s=within_s)

    def settled(self, workload: str, *, within_s: float) -> None:
        """Waits until a workload is as it was asked to be and its old pods are gone.

        Raises:
            NotInTime: it took longer.
        """
        kind, _, which = workload.partition("/")

        def look() -> bool:
            document = self._kubectl.get(kind, which)
            if unfinished(document) is not None:
                return False
            return not any(_is_going(pod) for pod in self._kubectl.list("pods", _pods(document)))

        until(look, what=f"{workload} to settle", within_s=within_s)

    def replaced(self, selector: str, before: set[str], *, within_s: float = 120) -> set[str]:
        """Waits until none of the pods of `before` is there any more, and as many ready ones are.

        Args:
            selector: labels of the pods.
            before: names.
            within_s: time it may take.

        Returns:
            The names of those that are there now.

        Raises:
            NotInTime: it took longer.
        """

        def look() -> set[str] | None:
            pods = self._kubectl.list("pods", selector)
            now = {name(pod) for pod in pods}
            ready = [pod for pod in pods if is_ready(pod)]
            return now if not now & before and len(ready) >= len(before) else None

        return until(look, what=f"other pods than {sorted(before)}", within_s=within_s)


def _pods(workload: Document) -> str:
    labels = workload_labels(workload)
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def workload_labels(workload: Document) -> dict[str, str]:
    """Labels by which a workload knows its pods."""
    spec = workload.get("spec")
    selector = spec.get("selector") if isinstance(spec, dict) else None
    labels = selector.get("matchLabels") if isinstance(selector, dict) else None
    return {str(key): str(value) for key, value in (labels or {}).items()}


def _is_going(pod: Document) -> bool:
    return bool(text(pod, "metadata", "deletionTimestamp"))
