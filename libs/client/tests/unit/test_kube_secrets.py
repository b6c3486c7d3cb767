"""`infermesh doctor --kube`: Secrets, and the certificates in them."""

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.certificate_dates import validities
from infermesh.cli.kube_doctor.checks.secrets import keys_of
from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.mounts import SecretUse, certificates_of, secrets_of
from infermesh.cli.kube_doctor.testing.fake_cluster import (
    NOW,
    FakeCluster,
    ago,
    condition,
    container,
)
from infermesh.cli.kube_doctor.testing.mesh import diagnosed, healthy_mesh, secret

ROUTER = "mesh-infermesh-router-0"


@pytest.fixture
def mesh() -> FakeCluster:
    """A mesh that works."""
    return healthy_mesh()


def the_finding(mesh: FakeCluster, kind: FindingClass, severity: Severity) -> Finding:
    """The only finding; its class, severity and exit code are as stated."""
    report = diagnosed(mesh)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == (kind, severity)
    assert report.exit_code == kind.exit_code
    return finding


def pem(not_before: datetime, not_after: datetime) -> str:
    """A certificate of that time."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mesh")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def mount_certificate(mesh: FakeCluster, **files: str) -> None:
    """Puts other certificates into the Secret that all pods mount."""
    secret(mesh, "mtls", "tls.crt", "tls.key", **{k.replace("_", "."): v for k, v in files.items()})


def test_a_missing_secret_names_who_needs_it_and_hides_its_pods(mesh: FakeCluster) -> None:
    mesh.remove(kinds.SECRET, "token")
    container(mesh, ROUTER, ready=False, state={"waiting": {"reason": "ContainerCreating"}})
    mesh.event(kinds.POD, ROUTER, "FailedMount", 'secret "token" not found')
    finding = the_finding(mesh, FindingClass.SECRET, Severity.ERROR)
    assert finding.about == (ObjectRef("Secret", "token"),)
    assert "Deployment mesh-infermesh-router" in finding.what
    assert "StatefulSet mesh-infermesh-redis" in finding.what
    assert finding.next == "kubectl -n ai create secret generic token --from-file=token=FILE"
    (consequence,) = diagnosed(mesh).consequences
    assert consequence.about == (ObjectRef("Pod", ROUTER),)


def test_a_missing_key_names_those_that_are_there_and_no_value_is_read(
    mesh: FakeCluster,
) -> None:
    secret(mesh, "openai", "api-key", "other", **{"api-key": "sk-very-secret"})
    finding = the_finding(mesh, FindingClass.SECRET, Severity.ERROR)
    assert finding.what == "It has no key key, only api-key, other; needed by Provider openai."
    assert "openai" not in mesh.read_secrets


def test_a_provider_whose_secret_is_missing_follows_from_the_secret(mesh: FakeCluster) -> None:
    mesh.remove(kinds.SECRET, "openai")
    provider = next(k for k in kinds.RESOURCES if k.name == "Provider")
    condition(mesh, provider, "openai", "Ready", "False", "SecretNotFound", "no Secret openai")
    finding = the_finding(mesh, FindingClass.SECRET, Severity.ERROR)
    assert "Provider openai" in finding.what and finding.component == ""
    assert [f.kind for f in diagnosed(mesh).consequences] == [FindingClass.KEY]


def test_a_secret_without_managed_fields_is_taken_to_be_whole(mesh: FakeCluster) -> None:
    mesh.set(kinds.SECRET, "openai", "metadata.managedFields", [])
    assert diagnosed(mesh).findings == []
    assert keys_of(KubeObject("Secret", {"metadata": {}})) is None


def test_secrets_that_may_not_be_seen_are_a_note(mesh: FakeCluster) -> None:
    mesh.forbidden.add(("get", "secrets"))
    report = diagnosed(mesh)
    (note,) = report.findings
    assert (note.severity, report.exit_code) == (Severity.NOTE, 0)
    assert "the verb get on secrets is missing" in note.what


def test_every_way_to_use_a_secret_is_seen() -> None:
    spec = Fields(
        {
            "volumes": [
                {"secret": {"secretName": "a", "items": [{"key": "x"}]}},
                {"secret": {"secretName": "gone", "optional": True}},
                {"projected": {"sources": [{"secret": {"name": "b"}}, {"configMap": {}}]}},
                {"projected": {"sources": [{"secret": {"name": "gone", "optional": True}}]}},
            ],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "c"}}, {"configMapRef": {}}]}],
            "containers": [
                {
                    "env": [
                        {"valueFrom": {"secretKeyRef": {"name": "a", "key": "y"}}},
                        {
                            "valueFrom": {
                                "secretKeyRef": {"name": "gone", "key": "k", "optional": True}
                            }
                        },
                        {"value": "plain"},
                    ],
                    "envFrom": [{"secretRef": {"name": "gone", "optional": True}}],
                }
            ],
        }
    )
    assert secrets_of(spec) == [
        SecretUse("a", frozenset({"x", "y"})),
        SecretUse("b"),
        SecretUse("c"),
    ]


def test_certificates_are_known_by_their_key_or_their_name() -> None:
    spec = Fields(
        {
            "volumes": [
                {"secret": {"secretName": "m", "items": [{"key": "tls.crt"}]}},
                {"secret": {"secretName": "edge-tls"}},
                {"secret": {"secretName": "other"}},
            ]
        }
    )
    assert certificates_of(spec) == {"m", "edge-tls"}


def test_an_expired_certificate_hides_that_pods_are_not_ready(mesh: FakeCluster) -> None:
    mount_certificate(mesh, tls_crt=pem(NOW - timedelta(days=90), NOW - timedelta(hours=1)))
    container(mesh, ROUTER, ready=False)
    finding = the_finding(mesh, FindingClass.CERTIFICATE, Severity.ERROR)
    assert finding.about == (ObjectRef("Secret", "mtls"),)
    assert "under tls.crt expired on 2026-05-04 11:00 UTC" in finding.what
    assert [f.kind for f in diagnosed(mesh).consequences] == [FindingClass.READINESS]


def test_a_certificate_that_ends_soon_is_a_warning(mesh: FakeCluster) -> None:
    mount_certificate(mesh, tls_crt=pem(NOW - timedelta(days=80), NOW + timedelta(days=10)))
    assert "expires on" in the_finding(mesh, FindingClass.CERTIFICATE, Severity.WARNING).what
    mount_certificate(mesh, tls_crt=pem(NOW - timedelta(days=80), NOW + timedelta(days=15)))
    assert diagnosed(mesh).findings == []


def test_certificates_of_a_day_are_not_always_about_to_end(mesh: FakeCluster) -> None:
    mount_certificate(mesh, tls_crt=pem(NOW - timedelta(hours=12), NOW + timedelta(hours=12)))
    assert diagnosed(mesh).findings == []


def test_an_authority_ends_too(mesh: FakeCluster) -> None:
    good = pem(NOW - timedelta(days=1), NOW + timedelta(days=300))
    mount_certificate(
        mesh, tls_crt=good, ca_crt=good + pem(NOW - timedelta(days=9), NOW - timedelta(days=1))
    )
    assert "under ca.crt" in the_finding(mesh, FindingClass.CERTIFICATE, Severity.ERROR).what


def test_a_certificate_of_the_future_and_nonsense(mesh: FakeCluster) -> None:
    mount_certificate(mesh, tls_crt=pem(NOW + timedelta(days=1), NOW + timedelta(days=300)))
    assert "only from" in the_finding(mesh, FindingClass.CERTIFICATE, Severity.ERROR).what
    mount_certificate(mesh, tls_crt="nonsense")
    assert "is no certificate" in the_finding(mesh, FindingClass.CERTIFICATE, Severity.ERROR).what


@pytest.mark.parametrize(
    ("not_after", "severity"),
    [(ago(days=1), Severity.ERROR), (ago(days=-9), Severity.WARNING)],
)
def test_cert_manager_is_taken_at_its_word_and_no_secret_is_read(
    mesh: FakeCluster, not_after: str, severity: Severity
) -> None:
    kept = {"cert-manager.io/certificate-name": "mesh-mtls"}
    mesh.set(kinds.SECRET, "mtls", "metadata.annotations", dict(kept))
    mesh.add(kinds.CERTIFICATE, "mesh-mtls", {"status": {"notAfter": not_after}})
    condition(mesh, kinds.CERTIFICATE, "mesh-mtls", "Ready", "False", "Denied", "issuer is gone")
    finding = the_finding(mesh, FindingClass.CERTIFICATE, severity)
    assert "issuer is gone" in finding.what
    assert finding.next == "kubectl -n ai describe certificate mesh-mtls"
    assert mesh.read_secrets == []


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (datetime(2020, 1, 2, 3, 4, 5), datetime(2049, 12, 31, 23, 59, 59)),
        # From 2050 on the other form of a time is used.
        (datetime(1999, 1, 1), datetime(2055, 6, 7, 8, 9, 10)),
    ],
)
def test_dates_of_a_certificate_are_read_as_a_library_reads_them(
    begin: datetime, end: datetime
) -> None:
    text = pem(begin, end)
    theirs = x509.load_pem_x509_certificate(text.encode())
    (ours,) = validities(text)
    assert ours.not_before == theirs.not_valid_before_utc
    assert ours.not_after == theirs.not_valid_after_utc


@pytest.mark.parametrize("body", ["AAAA", "MAA=", "!!!!", "MIIB", "MAQwAjAA", "MAoCAQECAQECAQE="])
def test_what_is_no_certificate_is_refused(body: str) -> None:
    with pytest.raises(ValueError):
        validities(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----")
