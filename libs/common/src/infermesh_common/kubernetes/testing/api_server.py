"""An API server for tests: keeps objects, tells of changes, and fails as it is told to.

It speaks as much of the API as InferMesh uses: list in pages, watch with bookmarks, field selectors
by name, create, replace and merge patches with their conflicts, the status subresource.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import cast

import yaml

from infermesh_common.kubernetes.testing.wire import ApiError, Object, Request, handler

__all__ = ["ApiError", "FakeApiServer", "Object", "Request"]
_POLL_S = 0.01


@dataclass
class FakeApiServer:
    """Attributes that tests set or read.

    Attributes:
        requests: what was asked, oldest first.
        refuse: looked at before each answer: the error to give, or None.
        silent: accept calls and watches, and say nothing.
        end_watches: end every watch as soon as it has begun.
        expire_in_watch: tell by an event, not by a status, that a version is gone.
    """

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    refuse: Callable[[Request], ApiError | None] = lambda request: None
    silent: bool = False
    end_watches: bool = False
    expire_in_watch: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._objects: dict[str, dict[str, Object]] = {}
        self._events: list[tuple[int, str, str, Object]] = []
        self._raw: list[bytes] = []
        self._version = 1
        self._oldest = 0
        self.cuts = 0
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        """Listens, on the port it had before if any."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._serve, args=(self._server,), daemon=True).start()

    def _serve(self, server: ThreadingHTTPServer) -> None:
        server.serve_forever(poll_interval=_POLL_S)

    def stop(self) -> None:
        """Goes away: nothing listens any more and open connections break."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        self.break_connections()

    def break_connections(self) -> None:
        """Breaks what is open; new connections are let in."""
        with self._lock:
            self.cuts += 1
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # has gone already

    def kubeconfig(self, folder: Path) -> Path:
        """A file that leads here."""
        path = folder / "kubeconfig"
        cluster = {"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake"}}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [cluster],
            "contexts": [context],
            "users": [{"name": "fake", "user": {"token": "t"}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def put(self, plural: str, document: Object) -> Object:
        """Creates an object, or replaces what is not its status."""
        with self._lock:
            name = document["metadata"]["name"]
            old = self._objects.get(plural, {}).get(name)
            fresh = json.loads(json.dumps(document))
            if old is None:
                fresh["metadata"] |= {"uid": f"uid-{self._version}", "generation": 1}
                return self._store(plural, "ADDED", fresh)
            changed = fresh.get("spec") != old.get("spec")
            generation = old["metadata"]["generation"] + changed
            fresh["metadata"] |= {"uid": old["metadata"]["uid"], "generation": generation}
            fresh["status"] = old.get("status")
            return self._store(plural, "MODIFIED", fresh)

    def put_status(self, plural: str, name: str, status: Object) -> None:
        """Replaces the status of an object, as its controller does."""
        with self._lock:
            self._store(plural, "MODIFIED", {**self.get(plural, name), "status": status})

    def delete(self, plural: str, name: str) -> None:
        """Removes an object."""
        with self._lock:
            gone = self._objects[plural].pop(name)
            self._version += 1
            gone["metadata"]["resourceVersion"] = str(self._version)
            self._events.append((self._version, plural, "DELETED", gone))

    def get(self, plural: str, name: str) -> Object:
        """A copy of an object; KeyError without one."""
        with self._lock:
            return cast(Object, json.loads(json.dumps(self._objects[plural][name])))

    def bookmark(self) -> int:
        """Tells every watch the present version, which is counted up first."""
        with self._lock:
            self._version += 1
            mark = {"kind": "x", "metadata": {"resourceVersion": str(self._version)}}
            self._events.append((self._version, "", "BOOKMARK", mark))
            return self._version

    def expire(self) -> None:
        """Forgets all versions before the present one; watches from them are refused."""
        with self._lock:
            self._version += 1
            self._oldest = self._version
            self._events.clear()

    def say(self, line: bytes) -> None:
        """Writes `line` into the next watch that is open."""
        with self._lock:
            self._raw.append(line)

    def lists(self, plural: str) -> int:
        """How often a kind was listed."""
        return sum(r.path.endswith(f"/{plural}") and not r.watches for r in self.requests)

    def watches(self, plural: str) -> list[Request]:
        """The watches of a kind, oldest first."""
        return [r for r in self.requests if r.path.endswith(f"/{plural}") and r.watches]

    def _store(self, plural: str, event: str, fresh: Object) -> Object:
        self._version += 1
        fresh["metadata"]["resourceVersion"] = str(self._version)
        self._objects.setdefault(plural, {})[fresh["metadata"]["name"]] = fresh
        self._events.append((self._version, plural, event, json.loads(json.dumps(fresh))))
        return fresh

    # What handlers call, in their threads.

    def answer(self, request: Request) -> Object:
        """See `Api`."""
        plural, name, part = _parts(request.path)
        with self._lock:
            if (refusal := self.refuse(request)) is not None:
                raise refusal
            if request.method == "GET" and name is None:
                return self._page(request, plural)
            if request.method == "POST":
                if request.body["metadata"]["name"] in self._objects.get(plural, {}):
                    raise ApiError(409, "AlreadyExists")
                return self.put(plural, request.body)
            old = self._objects.get(plural, {}).get(name or "")
            if old is None:
                raise ApiError(404, "NotFound")
            if request.method == "GET":
                return old
            return self._change(request, plural, part, old)

    def _change(self, request: Request, plural: str, part: str | None, old: Object) -> Object:
        body = request.body
        stated = body.get("metadata", {}).get("resourceVersion")
        if stated is not None and stated != old["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict")
        if request.method == "PATCH":
            if request.content_type != "application/merge-patch+json":
                raise ApiError(415, "UnsupportedMediaType")
            assert part == "status", "nothing else is patched here"
            return self._store(plural, "MODIFIED", {**old, "status": body["status"]})
        return self.put(plural, body)

    def _page(self, request: Request, plural: str) -> Object:
        items = [self._objects[plural][name] for name in sorted(self._objects.get(plural, {}))]
        items = [item for item in items if _selected(request, item)]
        start = int(request.query.get("continue", 0))
        end = start + int(request.query.get("limit", len(items) + 1))
        metadata = {"resourceVersion": str(self._version)}
        if end < len(items):
            metadata["continue"] = str(end)
        return {"kind": "List", "metadata": metadata, "items": items[start:end]}

    def opened(self, connection: socket.socket) -> None:
        """See `Api`."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """See `Api`."""
        with self._lock:
            self._open.discard(connection)

    def heard(self, request: Request) -> None:
        """See `Api`."""
        with self._lock:
            self.requests.append(request)

    def watched(self, request: Request) -> Iterator[bytes]:
        """See `Api`."""
        if (refusal := self.refuse(request)) is not None:
            raise refusal
        if int(request.query["resourceVersion"]) >= self._oldest:
            return self._events_for(request)
        gone = ApiError(410, "Expired")
        if not self.expire_in_watch:
            raise gone
        return iter([json.dumps({"type": "ERROR", "object": gone.body()}).encode() + b"\n"])

    def pause(self) -> None:
        """See `Api`."""
        self._ended.wait(_POLL_S)

    def _events_for(self, request: Request) -> Iterator[bytes]:
        plural, _, _ = _parts(request.path)
        version = int(request.query["resourceVersion"])
        ends_at = time.monotonic() + int(request.query["timeoutSeconds"])
        cuts = self.cuts
        while not self.end_watches and time.monotonic() < ends_at and cuts == self.cuts:
            with self._lock:
                lines = [self._raw.pop(0)] if self._raw else []
                for at, of, kind, item in self._events:
                    if at > version and of in (plural, "") and _selected(request, item):
                        version = at
                        event = json.dumps({"type": kind, "object": item})
                        lines.append(event.encode() + b"\n")
            yield from lines if not self.silent else ()
            yield b""

    def __enter__(self) -> "FakeApiServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _parts(path: str) -> tuple[str, str | None, str | None]:
    """Plural, name and subresource out of ".../namespaces/<namespace>/<plural>[/...]"."""
    rest = path.split("/namespaces/")[1].split("/")[1:]
    return rest[0], rest[1] if len(rest) > 1 else None, rest[2] if len(rest) > 2 else None


def _selected(request: Request, item: Object) -> bool:
    selector = request.query.get("fieldSelector")
    return selector is None or selector == f"metadata.name={item['metadata'].get('name')}"
