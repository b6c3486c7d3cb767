"""Certificates that the chart makes, or has made."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from tools import chart

Render = Callable[[str], list[chart.Object]]
MEMBERS = ("analytics", "cache", "envoy", "governance", "router")


def _secret(objects: list[chart.Object], name: str) -> Mapping[str, bytes]:
    (part,) = [p for p in objects if chart.identifier(p) == f"Secret/{name}"]
    data = part["data"]
    assert isinstance(data, dict)
    return {key: base64.b64decode(value) for key, value in data.items()}


def _names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("member", MEMBERS)
def test_each_part_of_mtls_has_a_certificate_of_the_one_ca(member: str, rendered: Render) -> None:
    objects = rendered("mtls")
    authority = x509.load_pem_x509_certificate(_secret(objects, "infermesh-mtls-ca")["tls.crt"])
    secret = _secret(objects, f"infermesh-{member}-mtls")
    certificate = x509.load_pem_x509_certificate(secret["tls.crt"])
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value

    certificate.verify_directly_issued_by(authority)
    assert x509.load_pem_x509_certificate(secret["ca.crt"]) == authority
    key = load_pem_private_key(secret["tls.key"], None)
    assert key.public_key() == certificate.public_key()
    assert f"infermesh-{member}.{chart.NAMESPACE}.svc" in _names(certificate)
    assert {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(usage)


def test_no_part_has_the_key_of_another_or_of_the_ca(rendered: Render) -> None:
    objects = rendered("mtls")
    names = [f"infermesh-{member}-mtls" for member in MEMBERS] + ["infermesh-mtls-ca"]

    assert len({_secret(objects, name)["tls.key"] for name in names}) == len(names)


def test_the_key_of_a_ca_is_in_no_pod(rendered: Render, pods: type[Any]) -> None:
    for case in ("mtls", "tls-self-signed", "mtls-cert-manager"):
        for name, spec in pods.of(rendered(case)):
            for volume in spec["volumes"]:
                assert not volume.get("secret", {}).get("secretName", "").endswith("-ca"), name


def test_a_self_signed_edge_has_the_names_that_were_stated(rendered: Render) -> None:
    secret = _secret(rendered("tls-self-signed"), "infermesh-envoy-tls")

    names = _names(x509.load_pem_x509_certificate(secret["tls.crt"]))

    assert {"mesh.example.com", f"infermesh-envoy.{chart.NAMESPACE}.svc"} <= set(names)


@pytest.mark.parametrize("case", ["mtls-cert-manager"])
def test_cert_manager_is_asked_for_the_same_names(case: str, rendered: Render) -> None:
    asked = {}
    for part in rendered(case):
        spec = part.get("spec")
        if part["kind"] == "Certificate" and isinstance(spec, dict):
            asked[spec["secretName"]] = spec

    assert asked["infermesh-mtls-ca"]["isCA"] is True
    for member in MEMBERS:
        spec = asked[f"infermesh-{member}-mtls"]
        assert f"infermesh-{member}.{chart.NAMESPACE}.svc" in spec["dnsNames"]
        assert set(spec["usages"]) == {"server auth", "client auth"}
        assert spec["issuerRef"]["name"] == "infermesh-mtls-ca"


def test_a_public_issuer_is_not_asked_for_names_inside_the_cluster(rendered: Render) -> None:
    (spec,) = [p["spec"] for p in rendered("tls-cert-manager") if p["kind"] == "Certificate"]
    assert isinstance(spec, dict)

    assert spec["dnsNames"] == ["mesh.example.com"]


@pytest.mark.parametrize("case", ["mtls", "mtls-cert-manager", "existing-secrets"])
def test_every_part_of_mtls_mounts_its_certificate(
    case: str, rendered: Render, pods: type[Any]
) -> None:
    for name, spec in pods.of(rendered(case)):
        member = name.rsplit("-", 1)[1]
        if member in MEMBERS:
            (volume,) = [v for v in spec["volumes"] if v["name"] == "mtls"]
            own = "own-mtls" if case == "existing-secrets" else f"infermesh-{member}-mtls"
            assert volume["secret"]["secretName"] == own
            files = {item["path"] for item in volume["secret"]["items"]}
            assert files == {"tls.crt", "tls.key", "ca.crt"}
