"""The mesh behind TLS, with a certificate made for the test."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from infermesh import AsyncClient, Client, TlsOptions, UnavailableError
from infermesh.router.v1 import operations_pb2
from infermesh.testing import ScriptedMesh


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate for the name mesh.test, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "2", "-subj", "/CN=mesh.test"]
        + ["-addext", "subjectAltName=DNS:mesh.test", "-keyout", str(key), "-out", str(chain)],
        check=True,
        capture_output=True,
    )
    return chain, key


@pytest.fixture
def tls_mesh(certificate: tuple[Path, Path]) -> Iterator[ScriptedMesh]:
    """A mesh that speaks TLS only."""
    chain, key = (path.read_bytes() for path in certificate)
    with ScriptedMesh(grpc.ssl_server_credentials([(key, chain)])) as mesh:
        mesh.script("GetHealth", operations_pb2.GetHealthResponse(status="SERVING"))
        yield mesh


async def test_a_mesh_with_a_trusted_certificate_is_talked_to(
    tls_mesh: ScriptedMesh, certificate: tuple[Path, Path]
) -> None:
    tls = TlsOptions(root_certificates_file=certificate[0], server_name="mesh.test")
    with Client(f"https://{tls_mesh.address}", "im_1_s", tls=tls) as client:
        assert client.health().status == "SERVING"
    async with AsyncClient(tls_mesh.address, "im_1_s", tls=tls) as concurrent:
        assert (await concurrent.health()).status == "SERVING"


@pytest.mark.parametrize("server_name", ["", "other.test"])
def test_a_certificate_for_another_name_is_refused_before_the_key_is_sent(
    tls_mesh: ScriptedMesh, certificate: tuple[Path, Path], server_name: str
) -> None:
    tls = TlsOptions(root_certificates_file=str(certificate[0]), server_name=server_name)
    with Client(f"https://{tls_mesh.address}", "im_1_s", tls=tls, max_retries=0) as client:
        with pytest.raises(UnavailableError):
            client.health()
    assert tls_mesh.calls == []


def test_an_authority_nobody_trusts_is_refused(tls_mesh: ScriptedMesh) -> None:
    with Client(f"https://{tls_mesh.address}", "im_1_s", max_retries=0) as client:
        with pytest.raises(UnavailableError):
            client.health()
    assert tls_mesh.calls == []
