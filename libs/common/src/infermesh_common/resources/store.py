"""Resources out of a directory of YAML files, hot reloaded."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import structlog
import yaml
from watchfiles import awatch

from infermesh_common.resources.in_force import ResourcesInForce
from infermesh_common.resources.resource_set import Document, Fault
from infermesh_common.telemetry.logs import without_text
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
_SUFFIXES = (".yaml", ".yml")
_DEEPEST = 64
_AGAIN_S = 0.5


class ResourceStore(ResourcesInForce):
    """Resources out of the YAML files of a directory.

    Args:
        directory: where the YAML files stand; sub-folders are not read.
        metrics: counts what was refused.
    """

    def __init__(self, directory: Path, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._directory = directory
        self._documents: dict[Path, list[tuple[str, Document]]] = {}

    def load(self) -> None:
        """Reads the directory and puts what is valid in force."""
        faults: list[Fault] = []
        documents = list(self._read(faults))
        self._put(documents, faults)

    async def watch(self) -> None:
        """Reloads at every change of the directory until cancelled.

        Whatever happens to the directory, what was in force stays until it can be read again.
        """
        while True:
            try:
                await self._follow()
            except Exception as error:  # of the file system, of watchfiles, of a listener
                self._reload_failures.inc()
                _log.error("resources_not_reloaded", error=without_text(error))
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        """Reloads at every change until the directory is another one."""
        followed = _inode(self._directory)
        first = True
        async for changes in awatch(
            self._directory,
            recursive=True,
            step=50,
            debounce=200,
            rust_timeout=1_000,
            yield_on_timeout=True,
        ):
            if _inode(self._directory) != followed:
                return
            if changes or first:
                # First: what changed between the last load and the start of the watch.
                self.load()
            first = False

    def _read(self, faults: list[Fault]) -> Iterator[tuple[str, Document]]:
        """Documents of every file; of a file that cannot be read, those it held before."""
        documents: dict[Path, list[tuple[str, Document]]] = {}
        for path in sorted(self._directory.iterdir()):
            if path.suffix not in _SUFFIXES or not path.is_file():
                continue
            try:
                parsed = _parse(path.read_text("utf-8"))
                documents[path] = [(path.name, d) for d in parsed if d is not None]
            except (OSError, ValueError, yaml.YAMLError) as error:
                # ValueError: not UTF-8, or a date or number that is none.
                mark = getattr(error, "problem_mark", None)
                line = f" at line {mark.line + 1}" if mark else ""
                faults.append(Fault(path.name, f"cannot be read: {type(error).__name__}{line}"))
                documents[path] = self._documents.get(path, [])
        self._documents = documents
        for held in documents.values():
            yield from held


class _NestedTooDeeply(ValueError):
    """The file would overflow the stack of the YAML library, which does not watch it."""


def _parse(text: str) -> list[Document]:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise _NestedTooDeeply
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def _inode(directory: Path) -> tuple[int, int]:
    status = directory.stat()
    return status.st_dev, status.st_ino
