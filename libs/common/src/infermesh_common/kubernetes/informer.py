"""Follows objects of the API server: a list, then a watch from there on, for ever.

Of the client library this uses its configuration, its API calls and `kubernetes.watch.Watch`. Not
`kubernetes.informer.SharedInformer` (37.0.1), because it cannot list custom resources (it takes
the method `dict.items` for their list), connects again without any delay after an error, asks for
no bookmarks, waits for ever on a connection that is dead, and loses a stop that comes before the
watch has begun. The last is true of `Watch.stop` too: so the connection is closed from here.
"""

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import structlog

from infermesh_common.kubernetes.client import JsonObject, Source
from infermesh_common.telemetry.logs import without_text
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_log = structlog.get_logger(__name__)
_GONE = 410
_PAGE = 500
# A watch that ends sooner without a word has failed, whatever its status.
_SHORTEST_WATCH_S = 1.0
_JOIN_S = 1.0
Objects = Mapping[str, JsonObject]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an informer waits for what, in seconds.

    Attributes:
        connect_s: for a connection.
        list_s: for each part of the answer to a list.
        watch_s: until a watch is ended and begun anew: an API server that died without a word is
            noticed then at the latest.
        first_delay_s: after a first failure; doubled with each further one, less a random part.
        longest_delay_s: bound of that.
    """

    connect_s: float = 3.0
    list_s: float = 15.0
    watch_s: float = 60.0
    first_delay_s: float = 0.2
    longest_delay_s: float = 5.0


class Informer:
    """Keeps the objects of a source at hand.

    What is known stays while the API server is away, and is brought up to date when it is back.

    Args:
        source: what to follow.
        on_change: called in the event loop with all objects, by name: once after the first list,
            then after every change.
        metrics: of the process.
        timing: see `Timing`.

    Attributes:
        objects: those known, by name.
        synced: whether there has been a list.
    """

    def __init__(
        self,
        source: Source,
        on_change: Callable[[Objects], None],
        metrics: Metrics,
        *,
        timing: Timing = Timing(),
    ) -> None:
        self.objects: Objects = {}
        self.synced = False
        self._source = source
        self._on_change = on_change
        self._timing = timing
        self._defects = metrics.counter("infermesh_background_failures_total")
        self._interrupted = metrics.counter("infermesh_kubernetes_watch_failures_total")
        self._age = metrics.gauge("infermesh_kubernetes_watch_age_seconds")
        self._follower: _Follower | None = None

    def age_s(self) -> float:
        """Seconds since the API server last said anything; infinite if it never did.

        Up to a minute, without changes, is as it should be.
        """
        heard_at = self._follower.heard_at if self._follower else None
        return float("inf") if heard_at is None else time.monotonic() - heard_at

    async def run(self) -> None:
        """Follows the source, in a thread of its own, until cancelled."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell(call: Callable[..., object], *arguments: object) -> None:
            # The loop is closed when the process ends sooner than the thread.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(call, *arguments)

        follower = self._follower = _Follower(
            self._source,
            self._timing,
            deliver=lambda objects: tell(self._take_over, objects),
            failed=self._interrupted.labels(self._source.name).inc,
        )
        self._age.labels(self._source.name).set_function(self.age_s)

        def follow() -> None:
            follower.run()
            tell(ended.set)

        name = f"informer-{self._source.name}"
        thread = threading.Thread(target=follow, name=name, daemon=True)
        thread.start()
        try:
            await ended.wait()
        finally:
            follower.stop()
            self._age.remove(self._source.name)
            # A call that hangs outlives this, and then finds that it is to stop.
            await asyncio.to_thread(thread.join, _JOIN_S)

    def _take_over(self, objects: Objects) -> None:
        self.objects = objects
        self.synced = True
        try:
            self._on_change(objects)
        except Exception as error:  # of whoever listens: the next change must come through
            name = f"informer-{self._source.name}"
            self._defects.labels(name).inc()
            _log.error("background_task_failed", task=name, error=without_text(error))


class _Stopped(Exception):
    """The informer is to end."""


class _Follower:
    """The part of an informer that runs in its thread.

    Attributes:
        heard_at: when the API server last said anything, on the monotonic clock.
    """

    def __init__(
        self,
        source: Source,
        timing: Timing,
        *,
        deliver: Callable[[Objects], None],
        failed: Callable[[], None],
    ) -> None:
        self.heard_at: float | None = None
        self._source = source
        self._timing = timing
        self._deliver = deliver
        self._failed = failed
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._response: BaseHTTPResponse | None = None
        self._objects: dict[str, JsonObject] = {}
        self._version: str | None = None
        self._delay_s = timing.first_delay_s
        self._away = False

    def stop(self) -> None:
        """Ends `run`, at once if it waits for the next event."""
        with self._lock:
            self._stopping.set()
            connection = getattr(self._response, "connection", None)
        # Closing the response instead would wait for the very read that is to be ended.
        if (sock := getattr(connection, "sock", None)) is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Follows until stopped."""
        while not self._stopping.is_set():
            try:
                if self._version is None:
                    self._list()
                self._watch()
            except Exception as error:  # whatever a network or the library may come up with
                if self._stopping.is_set():
                    return
                self._report(error)
                # At least half of it: many informers must not come back at the same moment.
                self._stopping.wait(self._delay_s * random.uniform(0.5, 1))
                self._delay_s = min(self._delay_s * 2, self._timing.longest_delay_s)

    def _report(self, error: Exception) -> None:
        """Counts; logs when it begins. Never what an answer holds."""
        status = getattr(error, "status", None)
        if status == _GONE:
            # It has forgotten the version to continue from.
            self._version = None
            _log.info("kubernetes_watch_expired", source=self._source.name)
            return
        self._failed()
        if not self._away:
            self._away = True
            _log.warning(
                "kubernetes_watch_interrupted",
                source=self._source.name,
                status=status,
                error=type(error).__name__,
            )

    def _heard(self) -> None:
        self.heard_at = time.monotonic()
        if self._away:
            self._away = False
            _log.info("kubernetes_watch_resumed", source=self._source.name)

    def _open(self, **query: object) -> "BaseHTTPResponse":
        response = self._source.open(**query)
        with self._lock:
            if self._stopping.is_set():
                response.close()
                raise _Stopped
            self._response = response
        return response

    def _list(self) -> None:
        """Takes over every object there is, page by page."""
        found: dict[str, JsonObject] = {}
        page: dict[str, object] = {}
        while True:
            response = self._open(
                limit=_PAGE,
                _request_timeout=(self._timing.connect_s, self._timing.list_s),
                **page,
            )
            try:
                answer = json.loads(response.data)
            finally:
                response.close()
            for item in answer["items"] or []:
                found[item["metadata"]["name"]] = item
            following = answer["metadata"].get("continue")
            if not following:
                break
            page = {"_continue": following}
        self._heard()
        self._version = answer["metadata"]["resourceVersion"]
        self._objects = found
        self._deliver(dict(found))

    def _watch(self) -> None:
        """Takes over events until the API server ends the watch."""
        from kubernetes.watch import Watch

        began = time.monotonic()
        silent = True

        # Any: the library looks at the annotation to find a class for the objects.
        def begin(**query: object) -> Any:
            response = self._open(**query)
            self._heard()
            return response

        seconds = self._timing.watch_s
        events = Watch().stream(
            begin,
            resource_version=self._version,
            allow_watch_bookmarks=True,
            # The library does not retry by itself when this is given.
            timeout_seconds=max(1, round(seconds)),
            _request_timeout=(self._timing.connect_s, seconds + self._timing.connect_s),
        )
        for event in events:
            self._heard()
            self._apply(cast("dict[str, Any] | None", event))
            self._delay_s = self._timing.first_delay_s
            silent = False
        if silent and time.monotonic() - began < _SHORTEST_WATCH_S:
            raise ConnectionError("the watch was ended as soon as it had begun")
        self._delay_s = self._timing.first_delay_s

    def _apply(self, event: dict[str, Any] | None) -> None:
        if event is None:
            # The library leaves out what it cannot read: it must come again.
            raise ValueError("not an event")
        item = event["object"]
        metadata = item["metadata"]
        if event["type"] in ("ADDED", "MODIFIED"):
            self._objects[metadata["name"]] = item
        elif event["type"] == "DELETED":
            self._objects.pop(metadata["name"], None)
        self._version = metadata["resourceVersion"]
        if event["type"] != "BOOKMARK":
            self._deliver(dict(self._objects))
