"""The bundled OpenBao sets itself up: who may read, who may write, and nobody else."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infermesh_common.testing.token_reviews import service_account_token
from infermesh_common.testing.vault import VaultServer
from tools import chart

OPENAI = "infermesh/data/providers/openai"


def vault_objects(**values: object) -> dict[tuple[str, str], chart.Object]:
    """The objects of the part, by kind and name."""
    found = chart.render({"vault": {"enabled": True, **values}})
    objects = {(str(o["kind"]), str(chart.identifier(o)).rpartition("/")[2]): o for o in found}
    return {key: o for key, o in objects.items() if "vault" in key[1]}


def text_of(objects: Mapping[tuple[str, str], chart.Object], file: str) -> str:
    data = objects["ConfigMap", "infermesh-vault"]["data"]
    assert isinstance(data, dict)
    return str(data[file])


class BundledVault(VaultServer):
    """The chart's OpenBao as a process: only places and its API server are others than in a pod."""

    def __init__(self, folder: Path) -> None:
        self._objects = vault_objects(audience="vault")
        super().__init__(
            folder,
            configured=lambda server: {"openbao.hcl": self._configured(server)},
            administrator="infermesh-vault-admin",
        )
        secret = self._objects["Secret", "infermesh-vault-seal"]["data"]
        assert isinstance(secret, dict)
        (folder / "seal-key").write_bytes(base64.b64decode(secret["seal-key"]))
        (folder / "as").write_text(text_of(self._objects, "as"))

    def _configured(self, server: VaultServer) -> str:
        sign_in = "\n".join(f"{k} = {json.dumps(v)}" for k, v in server.sign_in.items())
        places = {
            "/openbao/data": f"{server.folder}/data",
            "0.0.0.0:8200": f"127.0.0.1:{server.port}",
            "127.0.0.1:8201": f"127.0.0.1:{server.cluster_port}",
            "/run/secrets/infermesh-vault-seal": str(server.folder),
            'kubernetes_host = "https://kubernetes.default.svc"': sign_in,
        }
        text = text_of(self._objects, "openbao.hcl")
        for place, here in places.items():
            assert place in text
            text = text.replace(place, here)
        return text

    def may(self, account: str, role: str, method: str, path: str, body: object = None) -> bool:
        """Whether a ServiceAccount, once it has signed in, is let do that."""
        login = {"role": role, "jwt": service_account_token(account)}
        token = self.call("POST", "auth/kubernetes/login", login)["auth"]["client_token"]
        given = body if isinstance(body, dict) else None
        return self.is_let(method, path, given, token)

    def run_as(self, role: str, text: str, *command: str) -> subprocess.CompletedProcess[str]:
        """The chart's script for people."""
        token = service_account_token(f"infermesh-vault-{role}")
        tools = Path(sys.executable).parent
        environment = {"BAO_ADDR": self.address, "PATH": f"{tools}:/usr/bin:/bin", "HOME": "/tmp"}
        return subprocess.run(
            ["sh", self.folder / "as", role, *command],
            input=f"{token}\n{text}",
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundledVault]:
    """A running one."""
    server = BundledVault(tmp_path_factory.mktemp("vault"))
    with server:
        yield server


def test_people_write_and_services_read_what_is_theirs(vault: BundledVault) -> None:
    put = ("bao", "kv", "put", "-mount=infermesh")
    done = vault.run_as("operator", "sk-one", *put, "providers/openai", "key=-")
    assert done.returncode == 0, done.stderr
    assert "sk-one" not in done.stdout + done.stderr
    vault.put("api-keys/acme", key="im_x")
    vault.put("signing/audit", key="s")

    router, governance = "infermesh-router", "infermesh-governance"
    assert vault.ask("GET", OPENAI)["data"] == {"key": "sk-one"}
    rights = {
        (router, "GET", OPENAI): True,
        (router, "GET", "infermesh/data/api-keys/acme"): False,
        (router, "POST", OPENAI): False,
        (router, "LIST", "infermesh/metadata/providers"): False,
        (governance, "GET", OPENAI): False,
        (governance, "GET", "infermesh/data/api-keys/acme"): True,
        (governance, "GET", "infermesh/data/signing/audit"): True,
        (governance, "DELETE", "infermesh/data/api-keys/acme"): False,
    }
    for (account, method, path), right in rights.items():
        body = {"data": {"key": "x"}} if method == "POST" else None
        assert vault.may(account, account, method, path, body) == right, (account, method, path)


def test_an_operator_may_write_and_not_read(vault: BundledVault) -> None:
    vault.put("providers/openai", key="sk-one")
    operator = ("infermesh-vault-operator", "operator")
    assert not vault.may(*operator, "GET", OPENAI)
    assert vault.may(*operator, "POST", OPENAI, {"data": {"key": "sk-two"}})
    assert vault.may(*operator, "LIST", "infermesh/metadata/providers")
    assert not vault.may(*operator, "GET", "sys/policies/acl")
    assert not vault.may(*operator, "PUT", "sys/seal")
    assert vault.ask("GET", OPENAI)["data"] == {"key": "sk-two"}
    done = vault.run_as("operator", "", "bao", "kv", "get", "-mount=infermesh", "providers/openai")
    assert done.returncode != 0 and "permission denied" in done.stderr


def test_nobody_signs_in_as_somebody_else(vault: BundledVault) -> None:
    wrong = [
        ("infermesh-router", "infermesh-governance"),
        ("infermesh-governance", "operator"),
        ("infermesh-vault-operator", "admin"),
        ("default", "infermesh-router"),
    ]
    for account, role in wrong:
        login = {"role": role, "jwt": service_account_token(account)}
        assert not vault.is_let("POST", "auth/kubernetes/login", login), (account, role)
    other = {
        "role": "infermesh-router",
        "jwt": service_account_token("infermesh-router", audience="x"),
    }
    assert not vault.is_let("POST", "auth/kubernetes/login", other)


def test_the_administrator_can_change_what_the_first_start_has_set_up(vault: BundledVault) -> None:
    policy = 'path "infermesh/data/providers/*" { capabilities = ["read"] }'
    done = vault.run_as("admin", policy, "bao", "policy", "write", "more", "-")
    assert done.returncode == 0, done.stderr
    assert vault.ask("GET", "sys/policies/acl/more")["policy"] == policy


def test_a_script_of_people_leaves_no_token_behind(vault: BundledVault) -> None:
    before = vault.tokens_of("operator").keys()
    done = vault.run_as("operator", "", "bao", "token", "lookup", "-format=json")
    assert done.returncode == 0 and json.loads(done.stdout)["data"]["meta"]["role"] == "operator"
    assert vault.tokens_of("operator").keys() == before


def test_a_new_start_opens_it_and_keeps_what_it_holds(vault: BundledVault) -> None:
    vault.put("providers/openai", key="sk-kept")
    vault.seal()
    assert vault.is_sealed
    vault.stop()
    vault.start()
    assert not vault.is_sealed
    assert vault.ask("GET", OPENAI)["data"] == {"key": "sk-kept"}


def test_no_root_token_is_left(vault: BundledVault) -> None:
    accessors = vault.ask("LIST", "auth/token/accessors")["keys"]
    for accessor in accessors:
        token = vault.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        assert "root" not in token["policies"]


@pytest.mark.parametrize("mode", ["none", "generated", "existingSecret"])
def test_how_it_speaks_is_the_same_everywhere(mode: str) -> None:
    tls = {"mode": mode, "existingSecret": "own" if mode == "existingSecret" else ""}
    objects = vault_objects(tls=tls)
    scheme = "http" if mode == "none" else "https"
    rendered = json.dumps(objects["StatefulSet", "infermesh-vault"])
    config = text_of(objects, "openbao.hcl")
    assert f'api_addr = "{scheme}://infermesh-vault.mesh.svc:8200"' in config
    assert ("tls_disable = true" in config) == (mode == "none")
    assert f'"{scheme}://127.0.0.1:8200"' in rendered
    assert rendered.count(f'"scheme": "{scheme.upper()}"') == 3
    secret = {"none": None, "generated": "infermesh-vault-tls", "existingSecret": "own"}[mode]
    assert (f'"secretName": "{secret}"' in rendered) == (secret is not None)
    assert (("Secret", "infermesh-vault-tls") in objects) == (mode == "generated")


@pytest.mark.parametrize(
    "values",
    [
        {"tls": {"mode": "existingSecret"}},
        {"tls": {"mode": "maybe"}},
        {"audience": 'x" }'},
        {"tokenTtlSeconds": 1},
        {"image": {"tag": "latest"}},
        {"unknown": 1},
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(chart.ChartError):
        vault_objects(**values)


def test_a_seal_key_of_your_own_is_used_and_none_is_made() -> None:
    objects = vault_objects(sealKey={"existingSecret": {"name": "own", "key": "k"}})
    assert ("Secret", "infermesh-vault-seal") not in objects
    assert '{"key": "k", "path": "seal-key"}' in json.dumps(
        objects["StatefulSet", "infermesh-vault"]
    )


def test_an_audit_log_is_kept_only_where_it_is_asked_for() -> None:
    text = text_of(vault_objects(audit=True), "openbao.hcl")
    assert 'audit "file" "stdout"' in text
    assert "log_raw" not in text
    assert "audit" not in text_of(vault_objects(), "openbao.hcl").partition("initialize")[0]
