"""HorizontalPodAutoscalers that cannot do their work."""

from collections.abc import Iterator

from infermesh.cli.kube_doctor.findings import Finding, FindingClass
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.release import Release, component_of


def autoscalers(release: Release) -> Iterator[Finding]:
    """Autoscalers without metrics, or that may not scale."""
    for scaler in release.autoscalers:
        for name, trouble in (
            ("ScalingActive", "It cannot read its metrics"),
            ("AbleToScale", "It cannot scale"),
        ):
            condition = scaler.condition(name)
            # Where nothing runs by intention it says so itself.
            if condition.text("status") != "False" or condition.text("reason") == "ScalingDisabled":
                continue
            said = f"{condition.text('reason')}: {short(condition.text('message'))}"
            yield release.finding(
                FindingClass.AUTOSCALING,
                scaler,
                f"{trouble} ({said})",
                release.kubectl(f"describe hpa {scaler.name}"),
                component=component_of(scaler),
            )
            break
