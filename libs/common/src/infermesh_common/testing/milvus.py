"""Milvus Lite's real server for tests, which they may pause, kill and empty."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from infermesh_common.testing.servers import free_port

_START_S = 60


class MilvusLiteServer:
    """`milvus-lite server` on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it listens."""
        command = [sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--data-dir", str(self.folder / "milvus")]
        log = self.folder / "milvus.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + _START_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text("utf-8", "replace"))

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2):
                return True
        except OSError:
            return False

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends `pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it at once."""
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """Ends it and waits."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._process.terminate()
            self._wait()

    def wipe(self) -> None:
        """Removes what it stored; it must not run."""
        assert self._process is None, "it runs"
        shutil.rmtree(self.folder / "milvus")

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(30)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def __enter__(self) -> "MilvusLiteServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
