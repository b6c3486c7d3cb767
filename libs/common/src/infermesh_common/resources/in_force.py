"""The resources in force in a process, wherever they are declared."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from infermesh_common.resources.resource_set import Document, Fault, ResourceSet, build
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


class ResourcesInForce(ABC):
    """Reads resources, puts what is valid in force and tells who listens.

    Args:
        metrics: says which revision is in force and counts what was refused.

    Attributes:
        current: the set in force.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._invalid = metrics.gauge("infermesh_resources_invalid")
        self._info = metrics.gauge("infermesh_resources_revision")
        self._reload_failures = metrics.counter("infermesh_resource_reload_failures_total")
        self._listeners: list[Callable[[ResourceSet], None]] = []
        self.current = ResourceSet()
        self._loaded = asyncio.Event()

    @abstractmethod
    def load(self) -> None:
        """Puts in force what is declared and valid, as far as it can be told without waiting."""

    @abstractmethod
    async def watch(self) -> None:
        """Puts every change in force until cancelled.

        What was in force stays for as long as it cannot be told what is declared.
        """

    def subscribe(self, listener: Callable[[ResourceSet], None]) -> None:
        """Calls `listener` now and at every change, with the set in force."""
        self._listeners.append(listener)
        listener(self.current)

    @property
    def loaded(self) -> bool:
        """Whether it is known what is declared."""
        return self._loaded.is_set()

    async def is_loaded(self) -> bool:
        """Readiness check: see `loaded`."""
        return self.loaded

    async def wait_until_loaded(self) -> None:
        """Waits until it is known what is declared, and that is in force."""
        await self._loaded.wait()

    def _put(self, documents: Iterable[tuple[str, Document]], faults: Sequence[Fault] = ()) -> None:
        """Puts `documents` in force.

        Args:
            documents: (where it stands, parsed document) pairs; all there are.
            faults: of what could not even be read.

        Raises:
            ExceptionGroup: of listeners; all of them have been told.
        """
        built = build(documents, self.current)
        found = (*faults, *built.faults)
        for fault in found:
            if fault not in self.current.faults:
                _log.warning("resource_refused", where=fault.where, reason=fault.message)
        self._invalid.set(len(found))
        before = self.current.revision
        self.current = replace(built, faults=found)
        self._loaded.set()
        if built.revision != before:
            # The revision that has gone must not look as if it were in force too.
            self._info.clear()
            self._info.labels(built.revision).set(1)
            _log.info("resources_loaded", revision=built.revision, count=len(built.by_key))
            self._tell()

    def _tell(self) -> None:
        """Calls every listener, whatever the others do."""
        failures: list[Exception] = []
        for listener in self._listeners:
            try:
                listener(self.current)
            except Exception as error:  # raised below, when the others have been told
                failures.append(error)
        if failures:
            raise ExceptionGroup("listeners of resources failed", failures)
