"""How a report is shown: lines for people, JSON for scripts."""

from collections.abc import Iterator, Sequence

from infermesh.cli.kube_doctor.examine import Report
from infermesh.cli.kube_doctor.findings import Finding, ObjectRef
from infermesh.inference import JsonValue

_MOST_NAMED = 3


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    if report.release:
        yield (
            f"Release {report.release} in namespace {report.namespace}: {report.pods} pods, "
            f"{report.resources} resources."
        )
    for each in report.findings:
        yield f"{each.severity.value:<8} {each.kind.label}: {_named(each.about)}: {each.what}"
        yield f"{'':<8} -> {each.next}"
    if report.consequences:
        yield f"Likely to follow from these: {len(report.consequences)} more (see --output json)."
    if report.exit_code == 0 and report.release:
        yield f"{'ok':<8} nothing is wrong"


def as_json(report: Report) -> JsonValue:
    """The report for scripts."""
    return {
        "namespace": report.namespace,
        "release": report.release,
        "ok": report.exit_code == 0,
        "exit_code": report.exit_code,
        "pods": report.pods,
        "resources": report.resources,
        "findings": [_plain(each) for each in report.findings],
        "consequences": [_plain(each) for each in report.consequences],
    }


def _plain(finding: Finding) -> JsonValue:
    return {
        "class": finding.kind.label,
        "exit_code": finding.kind.exit_code,
        "severity": finding.severity.value,
        "component": finding.component,
        "object": _object(finding.about[0]),
        "others": [_object(each) for each in finding.about[1:]],
        "what": finding.what,
        "next": finding.next,
    }


def _object(of: ObjectRef) -> JsonValue:
    return {"kind": of.kind, "name": of.name}


def _named(about: Sequence[ObjectRef]) -> str:
    told = ", ".join(str(each) for each in about[:_MOST_NAMED])
    more = len(about) - _MOST_NAMED
    return f"{told} and {more} more" if more > 0 else told
