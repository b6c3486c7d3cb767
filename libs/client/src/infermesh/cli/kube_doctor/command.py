"""`infermesh doctor --kube`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

import typer

from infermesh.cli.exits import OTHER, fail
from infermesh.cli.kube_doctor.cluster import ClusterError, NoCluster, NotAccepted
from infermesh.cli.kube_doctor.connection import Connection, NotInstalled, connect
from infermesh.cli.kube_doctor.examine import Report, examine
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.kubectl import Kubectl
from infermesh.cli.kube_doctor.report import as_json, lines
from infermesh.cli.output import console, print_json

Connect: TypeAlias = Callable[[str, str], Connection]
"""From a kubeconfig and a context; see `connect`."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was typed.

    Attributes:
        kubeconfig: path; empty: the usual ones.
        context: of it; empty: the current one.
        namespace: empty: that of the context.
        release: empty: the only one.
        as_json: for scripts.
    """

    kubeconfig: str
    context: str
    namespace: str
    release: str
    as_json: bool


def doctor_kube(options: Options, connect_to: Connect = connect) -> None:
    """Looks at a release in a cluster, prints what is wrong, and exits with the code of it.

    Raises:
        typer.Exit: with the code of the worst class, when anything is wrong.
    """
    try:
        report = _examined(options, connect_to)
    except NotInstalled as error:
        fail(str(error), OTHER)
    if options.as_json:
        print_json(as_json(report))
    else:
        out = console()
        for line in lines(report):
            out.print(line)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _examined(options: Options, connect_to: Connect) -> Report:
    kubectl = Kubectl(options.namespace, options.context)
    try:
        connection = connect_to(options.kubeconfig, options.context)
        kubectl = Kubectl(options.namespace or connection.namespace, options.context)
        return examine(connection.cluster, kubectl, options.release, _own_version())
    except ClusterError as error:
        return Report(kubectl.namespace, "", [_no_access(error, kubectl)])


def _no_access(error: ClusterError, kubectl: Kubectl) -> Finding:
    text = str(error)
    match error:
        case NotAccepted():
            next = kubectl.cluster("auth whoami")
        case NoCluster():
            # Not with the context, which may be what is wrong.
            next = "kubectl config get-contexts"
        case _:
            next = kubectl.cluster("cluster-info")
    return Finding(
        FindingClass.ACCESS,
        Severity.ERROR,
        (ObjectRef("Cluster", kubectl.context),),
        f"{text[0].upper()}{text[1:]}.",
        next,
    )


def _own_version() -> str:
    try:
        return version("infermesh")
    except PackageNotFoundError:
        return ""
