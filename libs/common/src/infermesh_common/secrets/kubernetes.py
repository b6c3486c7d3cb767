"""Kubernetes Secrets, each watched by its name."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from infermesh_common.background import end_tasks
from infermesh_common.kubernetes.client import JsonObject, Source
from infermesh_common.kubernetes.informer import Informer, Timing
from infermesh_common.resources.types import SecretKeyRef, SecretRef
from infermesh_common.secrets.faults import Fault, Reason
from infermesh_common.secrets.held import HeldSecret
from infermesh_common.settings import SettingsError
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_FORBIDDEN = (401, 403)
# A watch is renewed once in its time: an API server that said nothing for longer is away.
_SILENT_WATCHES = 1.5


class KubernetesSecrets:
    """Follows the Secrets of one namespace that are referred to, and no others.

    Args:
        namespace: where they are, for messages.
        open_source: the way to the Secret of that name; raises SettingsError when there is none.
        metrics: of the process.
        poll_s: time between two looks at whether the API server still answers.
        timing: of the watches.
    """

    name = "kubernetes"

    def __init__(
        self,
        namespace: str,
        open_source: Callable[[str], Source],
        metrics: Metrics,
        *,
        poll_s: float,
        timing: Timing = Timing(),
    ) -> None:
        self._namespace = namespace
        self._open_source = open_source
        self._metrics = metrics
        self._poll_s = poll_s
        self._timing = timing
        self._held: Mapping[SecretRef, HeldSecret] = {}
        self._watched: dict[str, _WatchedSecret] = {}
        self._wake = asyncio.Event()

    def follow(self, held: Mapping[SecretRef, HeldSecret]) -> None:
        """Keeps these up to date from now on, and no others."""
        self._held = held
        self._wake.set()

    async def run(self) -> None:
        """Follows until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._start_and_end()
                self._tell()
                try:
                    async with asyncio.timeout(self._poll_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue  # a look is due
        finally:
            await self._end(list(self._watched))

    async def _start_and_end(self) -> None:
        wanted = {_entry(ref).name for ref in self._held}
        await self._end([name for name in self._watched if name not in wanted])
        for name in sorted(wanted - self._watched.keys()):
            try:
                # Making the first client imports a library for over a second.
                source = await asyncio.to_thread(self._open_source, name)
            except SettingsError as error:
                self._fail(name, Fault(Reason.KUBERNETES_UNAVAILABLE, f"{error}."))
                continue
            self._watched[name] = _WatchedSecret(
                source, self._tell, self._metrics, timing=self._timing
            )

    async def _end(self, names: list[str]) -> None:
        ended = [self._watched.pop(name) for name in names]
        await end_tasks([watched.task for watched in ended])

    def _fail(self, name: str, fault: Fault) -> None:
        for ref, held in self._held.items():
            if _entry(ref).name == name:
                held.fail(fault)

    def _tell(self) -> None:
        """Hands on what the watches know."""
        for ref, held in self._held.items():
            entry = _entry(ref)
            if (watched := self._watched.get(entry.name)) is None:
                continue
            answer = self._look(watched, entry)
            if isinstance(answer, Fault):
                held.fail(answer)
            elif answer is not None:
                held.put(answer, age_s=watched.informer.age_s())

    def _look(self, watched: "_WatchedSecret", entry: SecretKeyRef) -> str | Fault | None:
        """The value, or what is wrong; None when nothing is known yet."""
        place = f"the Secret {entry.name} in the namespace {self._namespace}"
        informer = watched.informer
        silent_s = self._timing.watch_s * _SILENT_WATCHES
        if watched.status in _FORBIDDEN:
            return Fault(
                Reason.KUBERNETES_DENIED,
                f"The API server does not let this service read {place}: its role must name it "
                "(providerSecrets or apiKeySecrets in the values of the chart).",
            )
        if watched.failed and not (informer.synced and informer.age_s() < silent_s):
            said = f" (status {watched.status})" if watched.status else ""
            return Fault(
                Reason.KUBERNETES_UNAVAILABLE, f"The API server cannot be asked for {place}{said}."
            )
        if not informer.synced:
            return None
        if (found := informer.objects.get(entry.name)) is None:
            return Fault(Reason.MISSING, f"There is not {place}.")
        return _value(found, entry, place)


class _WatchedSecret:
    """One Secret and its watch.

    Attributes:
        informer: keeps it.
        task: runs the informer.
        failed: whether the last call of the API server failed.
        status: that it failed with, where it answered at all.
    """

    def __init__(
        self, source: Source, tell: Callable[[], None], metrics: Metrics, *, timing: Timing
    ) -> None:
        self.failed = False
        self.status: int | None = None
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self.informer = Informer(
            replace(source, open=self._open), lambda _: tell(), metrics, timing=timing
        )
        self.task = asyncio.create_task(self.informer.run(), name=f"informer-{source.name}")

    def _open(self, **query: object) -> "BaseHTTPResponse":
        """Notes what comes of a call, which the informer does not tell; runs in its thread."""
        try:
            response = self._source.open(**query)
        except Exception as error:
            status = getattr(error, "status", None)
            self._note(True, status if isinstance(status, int) else None)
            raise
        self._note(False, None)
        return response

    def _note(self, failed: bool, status: int | None) -> None:
        changed = (self.failed, self.status) != (failed, status)
        self.failed, self.status = failed, status
        if failed and changed:
            # The loop is closed when the process ends sooner than the thread.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell)


def _entry(ref: SecretRef) -> SecretKeyRef:
    assert ref.secret is not None
    return ref.secret


def _value(found: JsonObject, entry: SecretKeyRef, place: str) -> str | Fault:
    """The entry of a Secret."""
    data = found.get("data")
    encoded = data.get(entry.key) if isinstance(data, dict) else None
    if not isinstance(encoded, str):
        return Fault(Reason.MISSING, f"There is no key {entry.key} in {place}.")
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return Fault(Reason.INVALID, f"The key {entry.key} of {place} is not UTF-8.")
