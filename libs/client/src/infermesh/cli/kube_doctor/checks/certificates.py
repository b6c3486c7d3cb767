"""Certificates that no longer hold, or soon will not.

Where cert-manager keeps a certificate its own word is taken. Otherwise tls.crt and ca.crt have to
be read out of the Secret, if that is allowed; nothing else of it is kept.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.certificate_dates import Validity, validities
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.mounts import certificates_of
from infermesh.cli.kube_doctor.release import Release

_SOON = timedelta(days=14)
_KEPT_BY = "cert-manager.io/certificate-name"


def certificates(release: Release) -> Iterator[Finding]:
    """The certificates that pods of the release mount."""
    names = {
        name for w in release.workloads for name in certificates_of(w.at("spec.template.spec"))
    }
    for name in sorted(names):
        secret = release.reader.metadata(cluster.SECRET, name)
        if not isinstance(secret, KubeObject):
            continue
        kept_by = secret.annotations.get(_KEPT_BY, "")
        certificate = release.reader.one(cluster.CERTIFICATE, kept_by) if kept_by else None
        if certificate is not None:
            yield from _kept(certificate, name, release)
        else:
            yield from _read(name, release)


def _kept(certificate: KubeObject, secret: str, release: Release) -> Iterator[Finding]:
    describe = release.kubectl(f"describe certificate {certificate.name}")
    ready = certificate.condition("Ready")
    not_after = certificate.moment("status.notAfter")
    told = short(ready.text("message"))
    if not_after is not None and not_after <= release.now:
        what = f"Its certificate expired on {_day(not_after)}. cert-manager says: {told}"
        yield _finding(release, secret, what, describe)
    elif ready.text("status") == "False":
        what = f"cert-manager cannot keep its certificate: {told}"
        yield _finding(release, secret, what, describe, Severity.WARNING)


def _read(secret: str, release: Release) -> Iterator[Finding]:
    for key in ("tls.crt", "ca.crt"):
        pem = release.reader.secret_text(secret, key)
        if not pem:
            continue
        try:
            found = validities(pem)
        except ValueError:
            what = f"What is under {key} is no certificate."
            yield _finding(release, secret, what, release.kubectl(f"describe secret {secret}"))
            continue
        # A chain ends with its first link to expire.
        yield from _judged(min(found, key=lambda v: v.not_after), key, secret, release)


def _judged(held: Validity, key: str, secret: str, release: Release) -> Iterator[Finding]:
    renew = _renewal(release, secret)
    left = held.not_after - release.now
    # Certificates of a day or a week are renewed late in their life.
    soon = min(_SOON, (held.not_after - held.not_before) / 5)
    if left <= timedelta():
        what = f"The certificate under {key} expired on {_day(held.not_after)}."
        yield _finding(release, secret, what, renew)
    elif held.not_before > release.now:
        what = f"The certificate under {key} holds only from {_day(held.not_before)} on."
        yield _finding(release, secret, what, renew)
    elif left < soon:
        what = f"The certificate under {key} expires on {_day(held.not_after)}."
        yield _finding(release, secret, what, renew, Severity.WARNING)


def _renewal(release: Release, secret: str) -> str:
    command = f"upgrade {release.name} CHART --reuse-values"
    return f"{release.kubectl.helm(command)} (or renew the Secret {secret} where it comes from)"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _finding(
    release: Release, secret: str, what: str, next: str, severity: Severity = Severity.ERROR
) -> Finding:
    about = ObjectRef(cluster.SECRET.name, secret)
    return release.finding(FindingClass.CERTIFICATE, about, what, next, severity=severity)
