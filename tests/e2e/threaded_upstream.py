"""The scripted provider for tests with blocking clients."""

from __future__ import annotations

import asyncio
import threading

from infermesh_common.testing.upstream import ScriptedUpstream


class ThreadedUpstream(ScriptedUpstream):
    """The scripted provider on a loop of its own: tests with blocking clients need the other."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ThreadedUpstream:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop).result(20)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self.__aexit__(None, None, None), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def reset(self) -> None:
        self.handler = None
        self.requests.clear()
        self.headers.clear()
        self.disconnected.clear()
