"""What the doctor finds in a cluster, and the exit code that follows."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from infermesh.cli.exits import UNAVAILABLE


class FindingClass(Enum):
    """What a finding is about. Causes come before their effects: the order is that of the report,
    and the first class with an error decides the exit code.

    The values are exit codes. Those below 10 belong to the whole command line.
    """

    ACCESS = UNAVAILABLE
    DEFINITIONS = 10
    RELEASE = 11
    SECRET = 12
    CERTIFICATE = 13
    STORAGE = 14
    SCHEDULING = 15
    IMAGE = 16
    MEMORY = 17
    CRASH = 18
    DEPENDENCY = 19
    READINESS = 20
    ROLLOUT = 21
    ENDPOINTS = 22
    CONTROLLER = 23
    KEY = 24
    RESOURCE = 25
    REVISION = 26
    AUTOSCALING = 27
    DISRUPTION = 28
    VERSIONS = 29

    @property
    def exit_code(self) -> int:
        """Of a report in which this is the worst."""
        return self.value

    @property
    def label(self) -> str:
        """Name for people and scripts."""
        return self.name.lower()


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    """Nothing is known to be wrong, but something could not be looked at."""


class ObjectRef(NamedTuple):
    """An object of the cluster.

    Attributes:
        kind: "Pod", "Provider", ...
        name: its name; empty for all objects of the kind.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: what it is about.
        severity: how bad it is.
        about: the objects it was found at; the same thing at several is one finding.
        what: what is wrong, in a sentence or two that do not name the object.
        next: command that helps, or what to do.
        component: part of the mesh it is about, for example "router"; empty for none or all.
        needs: objects that may be the cause: with an error about one of them, this follows from it.
    """

    kind: FindingClass
    severity: Severity
    about: tuple[ObjectRef, ...]
    what: str
    next: str
    component: str = ""
    needs: frozenset[ObjectRef] = frozenset()

    @property
    def is_error(self) -> bool:
        """Whether it can be the cause of others."""
        return self.severity is Severity.ERROR


def by_cause(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, warnings, notes; within each causes before effects."""
    severities = list(Severity)
    return sorted(
        findings, key=lambda f: (severities.index(f.severity), f.kind.value, f.component, f.about)
    )


def exit_code(findings: Iterable[Finding]) -> int:
    """The code of the worst: the first class that has an error; without errors, a warning; else 0.

    A note is no reason to fail: a person who may see little can still ask whether all is well.
    """
    worst = next((f for f in by_cause(findings) if f.severity is not Severity.NOTE), None)
    return 0 if worst is None else worst.kind.exit_code


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """The same thing at several objects of one component as one finding."""
    groups: dict[tuple[FindingClass, Severity, str, str], Finding] = {}
    for each in findings:
        key = (each.kind, each.severity, each.component, each.what)
        first = groups.get(key)
        if first is None:
            groups[key] = each
            continue
        more = tuple(ref for ref in each.about if ref not in first.about)
        groups[key] = Finding(
            first.kind,
            first.severity,
            first.about + more,
            first.what,
            first.next,
            first.component,
            first.needs | each.needs,
        )
    return list(groups.values())
