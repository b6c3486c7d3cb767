"""A real OpenBao for tests."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import requests

from infermesh_common.settings import VaultAuthSettings, VaultSettings
from infermesh_common.testing.certificates import CertificateAuthority
from infermesh_common.testing.servers import free_port
from infermesh_common.testing.token_reviews import (
    AUDIENCE,
    NAMESPACE,
    TokenReviews,
    service_account_token,
)

_CONFIG = """
storage "raft" {{
  path = "{folder}/data"
  node_id = "vault-0"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = {plain}
  tls_cert_file = "{folder}/tls.crt"
  tls_key_file = "{folder}/tls.key"
}}
api_addr = "{address}"
cluster_addr = "{scheme}://127.0.0.1:{cluster_port}"
seal "static" {{
  current_key_id = "test"
  current_key = "file://{folder}/seal-key"
}}
"""


class VaultServer:
    """An OpenBao that sets itself up, with a KV engine at "infermesh/".

    Roles: "router" reads `providers/*`, "governance" reads `api-keys/*`, each for the
    ServiceAccount `mesh-<role>`; "admin" may do everything and is for `mesh-admin`.

    Args:
        folder: a folder of the test's own.
        ttl_s: how long the tokens of services live.
        tls: whether it speaks TLS, with a certificate of `authority`.
        configured: gets this object; its configuration in place of all that, as files by name.
        administrator: the ServiceAccount of the role "admin".

    Attributes:
        port: it listens on.
        cluster_port: it would listen on for others of its kind.
        reviews: the API server it asks.
        authority: the CA of its certificate.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ttl_s: int = 3600,
        tls: bool = False,
        configured: Callable[["VaultServer"], Mapping[str, str]] | None = None,
        administrator: str = "mesh-admin",
    ) -> None:
        self.folder = folder
        self.port, self.cluster_port = free_port(), free_port()
        self.reviews = TokenReviews()
        self.authority = CertificateAuthority(folder)
        self._scheme = "https" if tls else "http"
        self._process: subprocess.Popen[bytes] | None = None
        self._administrator = administrator
        self._ttl_s = ttl_s
        self._token = ""
        (folder / "data").mkdir()
        (folder / "seal-key").write_bytes(base64.b64encode(os.urandom(32)))
        for name, content in self.authority.issue().items():
            (folder / name).write_bytes(content)
        (folder / "config").mkdir()
        for name, text in (configured or VaultServer._configuration)(self).items():
            (folder / "config" / name).write_text(text)

    @property
    def address(self) -> str:
        """URL."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def settings(self, role: str = "router", *, timeout_ms: int = 2000) -> VaultSettings:
        """Settings of a service that signs in as `role`; writes the token of its ServiceAccount."""
        token_file = self.folder / f"{role}-token"
        token_file.write_text(service_account_token(f"mesh-{role}"))
        return VaultSettings(
            address=self.address,
            auth=VaultAuthSettings(mount="kubernetes", role=role, token_file=token_file),
            kv_mount="infermesh",
            ca_file=self.folder / "ca.crt" if self._scheme == "https" else None,
            timeout_ms=timeout_ms,
        )

    def start(self) -> None:
        """Starts it and waits until it serves."""
        command = Path(sys.executable).with_name("bao")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [command, "server", f"-config={self.folder / 'config'}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait(lambda: self._serves(), "start")

    def stop(self) -> None:
        """Ends it and waits; what it holds stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing answers."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends `pause`."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGCONT)

    def seal(self) -> None:
        """Seals it; only a new start ends that."""
        self.ask("PUT", "sys/seal")

    def put(self, path: str, **values: object) -> None:
        """Writes a new version of a secret."""
        self.ask("POST", f"infermesh/data/{path}", {"data": values})

    def delete(self, path: str) -> None:
        """Deletes the latest version of a secret."""
        self.ask("DELETE", f"infermesh/data/{path}")

    def revoke_tokens(self) -> None:
        """Ends every token that was got by signing in, the administrator's too."""
        self.ask("PUT", "sys/leases/revoke-prefix/auth/kubernetes/login", {"sync": True})

    def tokens_of(self, role: str) -> dict[str, dict[str, Any]]:
        """What Vault knows of a role's tokens that are alive, by their accessors."""
        found = {}
        for accessor in cast("list[str]", self.ask("LIST", "auth/token/accessors")["keys"]):
            try:
                token = self.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            except requests.HTTPError:
                continue  # it has just ended
            if (token.get("meta") or {}).get("role") == role:
                found[accessor] = token
        return found

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A call as administrator, who signs in when need be.

        Raises:
            requests.HTTPError: it was refused.
        """
        try:
            answer = self.call(method, path, body, {"X-Vault-Token": self._token})
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != 403:
                raise
            login = {"role": "admin", "jwt": service_account_token(self._administrator)}
            signed_in = self.call("POST", "auth/kubernetes/login", login)
            self._token = signed_in["auth"]["client_token"]
            answer = self.call(method, path, body, {"X-Vault-Token": self._token})
        return cast("dict[str, Any]", answer.get("data") or {})

    def is_let(
        self, method: str, path: str, body: dict[str, Any] | None = None, token: str = ""
    ) -> bool:
        """Whether a call is not refused."""
        try:
            self.call(method, path, body, {"X-Vault-Token": token})
        except requests.HTTPError:
            return False
        return True

    @property
    def is_sealed(self) -> bool:
        """Whether it is."""
        return bool(self.call("GET", "sys/seal-status")["sealed"])

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer to a call.

        Raises:
            requests.HTTPError: it was refused.
        """
        answer = requests.request(
            method,
            f"{self.address}/v1/{path}",
            json=body,
            headers=headers,
            timeout=20,
            verify=str(self.folder / "ca.crt"),
        )
        answer.raise_for_status()
        return cast("dict[str, Any]", answer.json()) if answer.content else {}

    def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text("utf-8", "replace")[-2000:])
        try:
            # A write: it reads before it can write.
            self.ask("POST", "infermesh/config", {"max_versions": 10})
        except requests.RequestException:
            return False
        return True

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        pause = threading.Event()
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"OpenBao does not {what}")
            pause.wait(0.05)

    @property
    def sign_in(self) -> dict[str, object]:
        """How its kubernetes authentication is configured."""
        return {
            "kubernetes_host": f"http://127.0.0.1:{self.reviews.port}",
            "kubernetes_ca_cert": self.authority.certificate.decode(),
            "token_reviewer_jwt": "reviewer",
            "disable_local_ca_jwt": True,
        }

    def _configuration(self) -> Mapping[str, str]:
        base = _CONFIG.format(
            folder=self.folder,
            port=self.port,
            plain="false" if self._scheme == "https" else "true",
            scheme=self._scheme,
            address=self.address,
            cluster_port=self.cluster_port,
        )
        requests = [
            {f"request-{n}": {"operation": "update", "path": path, "data": data}}
            for n, (path, data) in enumerate(self._setting_up())
        ]
        first = {"initialize": [{"test": {"request": requests}}]}
        return {"openbao.hcl": base, "first-start.json": json.dumps(first)}

    def _setting_up(self) -> list[tuple[str, dict[str, object]]]:
        """What it does at its first start: paths, and what is written there."""
        asked: list[tuple[str, dict[str, object]]] = [
            ("sys/mounts/infermesh", {"type": "kv", "options": {"version": "2"}}),
            ("sys/auth/kubernetes", {"type": "kubernetes"}),
            ("auth/kubernetes/config", self.sign_in),
        ]
        rules = {
            "router": {"infermesh/data/providers/*": ["read"]},
            "governance": {"infermesh/data/api-keys/*": ["read"]},
            "admin": {"*": ["create", "read", "update", "delete", "list", "sudo"]},
        }
        for role, paths in rules.items():
            policy = {"path": {path: {"capabilities": can} for path, can in paths.items()}}
            asked.append((f"sys/policies/acl/{role}", {"policy": json.dumps(policy)}))
            bound: dict[str, object] = {
                "bound_service_account_names": [f"mesh-{role}"],
                "bound_service_account_namespaces": [NAMESPACE],
                "audience": AUDIENCE,
                "token_policies": [role],
                "token_ttl": self._ttl_s if role != "admin" else 3600,
            }
            asked.append((f"auth/kubernetes/role/{role}", bound))
        return asked

    def __enter__(self) -> "VaultServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.reviews.close()
