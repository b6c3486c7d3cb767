"""Credentials of the place where the process runs: of a service account, a container, an instance.

botocore knows where to look for them and when they have to be renewed. Both may take seconds, so
they are asked for in a thread.
"""

import asyncio
import importlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from infermesh_common.errors import Unavailable

if TYPE_CHECKING:
    from botocore.credentials import Credentials

_LIBRARIES = ("botocore.auth", "botocore.eventstream")


class OwnCredentials:
    """Finds them once, and keeps them fresh.

    Args:
        find: looks for them; None when there are none.
    """

    def __init__(self, find: "Callable[[], Credentials | None] | None" = None) -> None:
        self._find = find or _found
        self._credentials: "Credentials | None" = None
        self._lock = threading.Lock()
        self._loaded = False

    async def load(self) -> None:
        """Loads botocore: that takes as long as many calls, which would have to wait."""
        if not self._loaded:
            await asyncio.to_thread(_load)
            self._loaded = True

    async def secret(self) -> str:
        """As it would stand in the file of a key.

        Raises:
            Unavailable: PROVIDER_KEY_MISSING, there are none, or they cannot be renewed.
        """
        return await asyncio.to_thread(self._secret)

    def _secret(self) -> str:
        from botocore.exceptions import BotoCoreError

        try:
            with self._lock:
                self._credentials = self._credentials or self._find()
            if self._credentials is None:
                raise _missing("there are none")
            frozen = self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise _missing(type(error).__name__) from error
        return orjson.dumps(
            {
                "accessKeyId": frozen.access_key,
                "secretAccessKey": frozen.secret_key,
                "sessionToken": frozen.token,
            }
        ).decode()


def _load() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)


def _found() -> "Credentials | None":
    from botocore.session import get_session

    return get_session().get_credentials()


def _missing(why: str) -> Unavailable:
    return Unavailable("PROVIDER_KEY_MISSING", f"No credentials of AWS where this runs: {why}.")
