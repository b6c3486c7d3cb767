"""The graceful end of a running Envoy, told through its admin interface."""

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass

_LOOK_S = 0.2
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Drained:
    """How it went.

    Attributes:
        seconds: that it took.
        connections: of clients that are left.
        requests: that are left.
    """

    seconds: float
    connections: int
    requests: int


class Admin:
    """The admin interface.

    Args:
        address: host:port.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, method: str, path: str) -> str:
        """Body of an answer.

        Raises:
            OSError: there is none, or not with 200.
        """
        connection = http.client.HTTPConnection(self._address, timeout=_ANSWER_S)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"{path}: {response.status} {body.strip()}")
        return body

    def gauges(self) -> tuple[int, int]:
        """Connections and requests of clients."""
        lines = self.ask("GET", "/stats?filter=^http.edge.downstream_(cx|rq)_active$").splitlines()
        values = dict(line.split(": ") for line in lines)
        return (
            int(values["http.edge.downstream_cx_active"]),
            int(values["http.edge.downstream_rq_active"]),
        )


def drain(
    admin: Admin,
    *,
    seconds: float,
    notice_s: float,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Drained:
    """Fails the health check, ends each connection with its next answer, and waits until the
    clients are gone. New ones are served the while: not every balancer knows yet.

    Args:
        admin: of the Envoy.
        seconds: at most.
        notice_s: what balancers take to notice; at least. After it only requests are waited for,
            as an idle connection may stay for as long as its client likes.
        wait: sleeps.
        now: a clock.

    Raises:
        OSError: Envoy cannot be told.
    """
    began = now()
    admin.ask("POST", "/healthcheck/fail")
    # Not the stats, and for ever: to close the listener would refuse clients.
    admin.ask("POST", "/drain_listeners?inboundonly&graceful&skip_exit")
    while True:
        passed = now() - began
        try:
            connections, requests = admin.gauges()
        except OSError:
            # It has ended by itself.
            return Drained(passed, 0, 0)
        if passed >= seconds or (requests == 0 and passed >= notice_s):
            return Drained(passed, connections, requests)
        wait(_LOOK_S)
