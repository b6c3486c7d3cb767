"""The supervisor's XML-RPC interface over its unix socket."""

import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 5.0
_TOO_SOON = "Exited too quickly"


class Unreachable(Exception):
    """The supervisor does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process as the supervisor sees it.

    Attributes:
        name: of the process.
        state: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN.
        pid: process id; 0 when there is none.
        uptime_s: seconds since its last start; 0 when it is not running.
        detail: why it could not be started or how it ended, if it did.
    """

    name: str
    state: str
    pid: int
    uptime_s: int
    detail: str

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.state in ("STARTING", "RUNNING", "STOPPING")


class SupervisorClient:
    """Speaks to the supervisor.

    Args:
        socket_path: its unix socket.
    """

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def states(self) -> dict[str, ProcessState]:
        """Every process by name.

        Raises:
            Unreachable: the supervisor does not answer.
        """
        answer = self._call("supervisor.getAllProcessInfo")
        if not isinstance(answer, list):
            raise Unreachable("the supervisor gave an answer of an unknown form")
        states = (_state(dict(entry)) for entry in answer)
        return {state.name: state for state in states}

    def start(self, name: str) -> None:
        """Starts a process without waiting for it.

        Raises:
            Unreachable: the supervisor does not answer, or cannot start it.
        """
        self._call("supervisor.startProcess", name, False)

    def shut_down(self) -> None:
        """Tells the supervisor to stop every process, last stage first, and to end.

        Raises:
            Unreachable: the supervisor does not answer.
        """
        self._call("supervisor.shutdown")

    def _call(self, method: str, *arguments: str | bool) -> object:
        # One connection a call: the supervisor may end between two of them.
        transport = _UnixTransport(self._socket_path)
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
            try:
                answer: object = getattr(proxy, method)(*arguments)
            except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
                raise Unreachable(f"{method}: {error}") from error
        return answer


def _state(entry: dict[str, str | int]) -> ProcessState:
    state = str(entry["statename"])
    running = state in ("RUNNING", "STARTING", "STOPPING")
    detail = str(entry["spawnerr"])
    if detail.startswith(_TOO_SOON):
        detail = "it ended soon after its start"
    elif not detail and state == "EXITED":
        code = int(entry["exitstatus"])
        detail = "it was killed by a signal" if code < 0 else f"it ended with code {code}"
    return ProcessState(
        name=str(entry["name"]),
        state=state,
        pid=int(entry["pid"]),
        uptime_s=max(0, int(entry["now"]) - int(entry["start"])) if running else 0,
        detail=detail,
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket; one that hangs counts as unreachable."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        """A connection to the socket, whatever the host of the URL."""
        return _UnixConnection(self._path)
