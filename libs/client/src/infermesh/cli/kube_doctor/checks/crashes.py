"""Containers that end again and again, or cannot be started."""

from datetime import timedelta

from infermesh.cli.kube_doctor.containers import Container, containers_of
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, Severity
from infermesh.cli.kube_doctor.last_words import last_line, plain_sentence, short
from infermesh.cli.kube_doctor.release import Release

# The services end with it when they cannot use their settings, after a sentence on stderr.
_SETTINGS = 2
_CANNOT_START = frozenset(
    {"RunContainerError", "CreateContainerError", "StartError", "ContainerCannotRun"}
)
_OFTEN = 5
_RECENT = timedelta(hours=1)


def crashing(pod: KubeObject, release: Release) -> Finding | None:
    """Whether a container of the pod does not stay up."""
    if pod.text("status.phase") == "Failed" and not pod.items("status.containerStatuses"):
        # The kubelet ended the whole pod, for example because the node ran out of disk.
        reason = pod.text("status.reason") or "failed"
        return release.finding(
            FindingClass.CRASH,
            pod,
            f"It was ended ({reason}): {short(pod.text('status.message'))}",
            release.kubectl(f"describe pod {pod.name}"),
        )
    for container in containers_of(pod):
        if container.waiting in _CANNOT_START:
            return release.finding(
                FindingClass.CRASH,
                pod,
                f"Container {container.name} cannot be started ({container.waiting}): "
                f"{short(container.waiting_message)}",
                release.kubectl(f"describe pod {pod.name}"),
            )
        failed = container.ended is not None and container.ended.exit_code != 0
        if container.waiting == "CrashLoopBackOff" or failed:
            return _ended(pod, container, release)
    return None


def restarted_often(pod: KubeObject, release: Release) -> Finding | None:
    """Whether a container that runs now was started again many times, of late too."""
    for container in containers_of(pod):
        end = container.before
        if container.restarts < _OFTEN or end is None or end.at is None:
            continue
        if release.now - end.at > _RECENT:
            continue
        return release.finding(
            FindingClass.CRASH,
            pod,
            f"Container {container.name} was restarted {container.restarts} times, in the last "
            f"hour too ({_how(container)}).",
            release.kubectl(f"logs {pod.name} -c {container.name} --previous --tail=50"),
            severity=Severity.WARNING,
        )
    return None


def _ended(pod: KubeObject, container: Container, release: Release) -> Finding:
    end = container.last_end
    log = end.message if end is not None else ""
    if not log:
        # While it waits for its next start, the last run is the previous one only in name: the
        # kubelet serves it as the current log until the container is made anew.
        log = release.reader.log(pod.name, container.name, previous=False)
        log = log or release.reader.log(pod.name, container.name, previous=True)
    if end is not None and end.exit_code == _SETTINGS and plain_sentence(log):
        return release.finding(
            FindingClass.CRASH,
            pod,
            f"Container {container.name} cannot use its settings: {plain_sentence(log)}",
            _configuration(pod, release),
        )
    said = last_line(log)
    last = f" Its last line: {said}" if said else " It printed nothing that can be read."
    return release.finding(
        FindingClass.CRASH,
        pod,
        f"Container {container.name} does not stay up ({_how(container)}; "
        f"{container.restarts} restarts).{last}",
        release.kubectl(f"logs {pod.name} -c {container.name} --previous --tail=50"),
    )


def _how(container: Container) -> str:
    end = container.last_end
    if end is None:
        return "it is not known how"
    # 128 + number of the signal.
    signal = f", signal {end.exit_code - 128}" if end.exit_code > 128 else ""
    reason = f", {end.reason}" if end.reason not in ("", "Error") else ""
    return f"exit code {end.exit_code}{signal}{reason}"


def _configuration(pod: KubeObject, release: Release) -> str:
    maps = (volume.text("configMap.name") for volume in pod.items("spec.volumes"))
    name = next((each for each in maps if each), "")
    if not name:
        return release.kubectl.helm(f"get values {release.name}")
    return release.kubectl(f"get configmap {name} -o yaml")
