"""Resources out of the custom resources of a namespace, followed as they change."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from infermesh_common.kubernetes.client import custom_resources
from infermesh_common.kubernetes.informer import Informer, Objects, Timing
from infermesh_common.resources.declaration import plural
from infermesh_common.resources.in_force import ResourcesInForce
from infermesh_common.resources.types import API_VERSION, KINDS
from infermesh_common.telemetry.logs import without_text
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_log = structlog.get_logger(__name__)
# What is applied together comes by as many watches as it has kinds: a policy must not be refused
# because the model it names is a moment behind it.
_SETTLE_S = 0.1


class KubernetesResourceStore(ResourcesInForce):
    """Follows every kind: they name each other.

    Nothing is in force before each kind has been listed once. While the API server is away, what
    was in force stays.

    Args:
        client: of the cluster.
        namespace: the one looked at.
        metrics: of the process.
        timing: of the informers.

    Attributes:
        client: of the cluster.
        namespace: the one looked at.
    """

    def __init__(
        self, client: "ApiClient", namespace: str, metrics: Metrics, *, timing: Timing = Timing()
    ) -> None:
        super().__init__(metrics)
        self.client = client
        self.namespace = namespace
        self._changed = asyncio.Event()
        self._looked_at: dict[str, Objects] = {}
        self._after_load: list[Callable[[], None]] = []
        self._informers = {
            kind: Informer(
                custom_resources(client, namespace, plural(kind), api_version=API_VERSION),
                lambda _: self._changed.set(),
                metrics,
                timing=timing,
            )
            for kind in KINDS
        }

    def objects(self, kind: str) -> Objects:
        """The custom resources of a kind that `current` was made of, by name."""
        return self._looked_at.get(kind, {})

    def after_load(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever custom resources have been looked at anew.

        That is more often than `subscribe` does: also when what is in force has not changed, but
        what is wrong with the rest, or a status.
        """
        self._after_load.append(listener)

    def load(self) -> None:
        """Puts in force what the API server has said so far, once it has spoken of each kind."""
        if not all(informer.synced for informer in self._informers.values()):
            return
        before = _content(self._looked_at)
        self._looked_at = {kind: informer.objects for kind, informer in self._informers.items()}
        try:
            # A status that was written is nothing new.
            if not self.loaded or _content(self._looked_at) != before:
                self._put(
                    (f"{kind} {name}", document)
                    for kind, objects in self._looked_at.items()
                    for name, document in objects.items()
                )
        finally:
            for listener in self._after_load:
                listener()

    async def watch(self) -> None:
        """See `ResourcesInForce.watch`."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())
            group.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SETTLE_S)
            self._changed.clear()
            try:
                self.load()
            except Exception as error:  # of a listener
                self._reload_failures.inc()
                _log.error("resources_not_reloaded", error=without_text(error))


def _content(looked_at: Mapping[str, Objects]) -> dict[tuple[str, str], object]:
    """What has to change before other resources can be in force.

    The API server counts up a generation with each change of a spec, and only then.
    """
    return {
        (kind, name): tuple(metadata.get(key) for key in ("uid", "generation", "labels"))
        for kind, objects in looked_at.items()
        for name, document in objects.items()
        if isinstance(metadata := document["metadata"], dict)
    }
