"""What one wants to know of a namespace when something in it does not work."""

from __future__ import annotations

from tests.cluster.commands import CommandFailed
from tests.cluster.documents import Document, name, number, text
from tests.cluster.kubectl import Kubectl
from tests.cluster.states import containers, is_ready, line

EVENTS = 40
LOG_LINES = 60


def diagnose(kubectl: Kubectl) -> str:
    """Pods, the last events, and of pods that are not ready the description and the logs.

    It does not fail: what cannot be had is said so.
    """
    parts = []
    pods: list[Document] = []
    try:
        pods = kubectl.list("pods")
        parts.append(_section("pods", "\n".join(map(line, pods)) or "none"))
        parts.append(_section("last events", "\n".join(_events(kubectl)) or "none"))
    except CommandFailed as error:
        parts.append(_section("no answer", str(error)))
    for pod in pods:
        if not is_ready(pod):
            parts.append(_pod(kubectl, pod))
    return "\n".join(parts)


def _events(kubectl: Kubectl) -> list[str]:
    def seen(event: Document) -> str:
        series = text(event, "series", "lastObservedTime")
        return text(event, "lastTimestamp") or series or text(event, "eventTime")

    events = sorted(kubectl.list("events"), key=seen)[-EVENTS:]
    return [
        f"{seen(event):28} {text(event, 'type'):8} {text(event, 'reason'):22}"
        f" {text(event, 'involvedObject', 'kind')}/{text(event, 'involvedObject', 'name')}"
        f" x{max(1, number(event, 'count'))} {text(event, 'message')}"
        for event in events
    ]


def _pod(kubectl: Kubectl, pod: Document) -> str:
    try:
        parts = [_section(f"pod {name(pod)}", kubectl.run("describe", "pod", name(pod)))]
    except CommandFailed as error:
        return _section(f"pod {name(pod)}", str(error))
    for container in containers(pod):
        which = text(container, "name")
        for previous in (True, False) if number(container, "restartCount") else (False,):
            log = kubectl.logs(name(pod), which, previous=previous, lines=LOG_LINES)
            before = ", before it was started again" if previous else ""
            parts.append(_section(f"log of {name(pod)}/{which}{before}", log or "empty"))
    return "\n".join(parts)


def _section(title: str, body: str) -> str:
    return f"--- {title}\n{body.rstrip()}\n"
