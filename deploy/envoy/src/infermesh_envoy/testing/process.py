"""A real Envoy on free loopback ports."""

import dataclasses
import http.client
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from infermesh_envoy.parameters import EnvoyParameters
from infermesh_envoy.paths import envoy_binary
from infermesh_envoy.render import write

_START_S = 30.0


class EnvoyProcess:
    """Runs the rendered bootstrap with one worker.

    Args:
        parameters: of the bootstrap; its ports of the edge and, without a stats listener, of
            admin are replaced by free ones.
        folder: where the bootstrap and the logs go.
        adjust: changes the parsed bootstrap to what no parameter says, for example to several
            addresses of one service.
        drain_s: how long draining its listeners takes.

    Attributes:
        parameters: those in force.
        port: of the edge, once it has started.
    """

    def __init__(
        self,
        parameters: EnvoyParameters,
        folder: Path,
        *,
        adjust: Callable[[dict[str, Any]], None] | None = None,
        drain_s: int = 600,
    ) -> None:
        self._adjust = adjust
        self._drain_s = drain_s
        self.access_log = folder / "access.log"
        self.log = folder / "envoy.log"
        self._folder = folder
        self.parameters = dataclasses.replace(
            parameters,
            listen_port=0,
            # The stats listener must be told where admin is; else the kernel chooses.
            admin_port=0 if parameters.stats_port is None else parameters.admin_port,
            access_log_path=str(self.access_log),
            sds_path=str(folder),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._admin_port = 0
        self.port = 0

    def start(self) -> None:
        """Starts it and waits until it accepts requests.

        Raises:
            RuntimeError: it ended, or was not ready in time; with its log.
        """
        bootstrap = self._folder / "bootstrap.yaml"
        admin_address = self._folder / "admin-address"
        admin_address.unlink(missing_ok=True)
        write(self.parameters, self._folder)
        if self._adjust is not None:
            content = yaml.safe_load(bootstrap.read_text())
            self._adjust(content)
            bootstrap.write_text(yaml.safe_dump(content))
        command = [str(envoy_binary()), "-c", str(bootstrap), "--concurrency", "1"]
        command += ["--disable-hot-restart", "--admin-address-path", str(admin_address)]
        command += ["--log-level", "warning", "--log-path", str(self.log)]
        command += ["--file-flush-interval-msec", "50", "--drain-time-s", str(self._drain_s)]
        with (self._folder / "envoy.out").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + _START_S
        while not self._ready(admin_address):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(self._output())
        listeners = json.loads(self.admin("/listeners?format=json"))["listener_statuses"]
        address = next(entry for entry in listeners if entry["name"] == "edge")["local_address"]
        self.port = address["socket_address"]["port_value"]

    @property
    def admin_address(self) -> str:
        """host:port of the admin interface."""
        return f"127.0.0.1:{self._admin_port}"

    def stat(self, name: str) -> int:
        """A counter or a gauge."""
        return int(self.admin(f"/stats?filter=^{name}$").rpartition(":")[2])

    def admin(self, path: str) -> str:
        """Body of a GET of the admin interface.

        Raises:
            OSError: it does not answer, or not with 200.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            if response.status != 200:
                raise OSError(f"admin answered {response.status}: {body}")
            return body
        finally:
            connection.close()

    def stop(self) -> None:
        """Ends it and waits."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def _ready(self, admin_address: Path) -> bool:
        try:
            self._admin_port = int(admin_address.read_text().rpartition(":")[2])
            return self.admin("/ready").startswith("LIVE")
        except (OSError, ValueError):
            return False

    def _output(self) -> str:
        files = (self._folder / "envoy.out", self.log)
        return "\n".join(file.read_text("utf-8", "replace") for file in files if file.exists())

    def __enter__(self) -> "EnvoyProcess":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
