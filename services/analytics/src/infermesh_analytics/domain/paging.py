"""Page tokens: opaque, bound to the query they belong to, and of no use when tampered with.

A token is the position of the last row and a keyed hash of that position and the query. Every
replica has the key, so that a page may come from another replica than the one before.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence

from infermesh_common.errors import InvalidArgument

_TAG_BYTES = 16


class PageTokens:
    """Makes and reads page tokens.

    Args:
        secret: shared by the replicas.
    """

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"infermesh ledger page token", "sha256")

    def issue(self, query: str, position: Sequence[str]) -> str:
        """A token for what follows `position` in the answer to `query`.

        Args:
            query: canonical text of everything that decides which rows come, in which order.
            position: of the last row of this page.
        """
        content = json.dumps(list(position)).encode()
        return base64.urlsafe_b64encode(self._tag(query, content) + content).decode()

    def read(self, query: str, token: str) -> list[str]:
        """The position in `token`.

        Raises:
            InvalidArgument: INVALID_PAGE_TOKEN when it was not issued for `query`.
        """
        try:
            raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        tag, content = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(query, content)):
            raise InvalidArgument(
                "INVALID_PAGE_TOKEN",
                "page_token does not belong to this query.",
                field="page.page_token",
            )
        position: list[str] = json.loads(content)
        return position

    def _tag(self, query: str, content: bytes) -> bytes:
        # The query's own hash has a fixed length, so no two pairs give the same bytes.
        bound = hashlib.sha256(query.encode()).digest() + content
        return hmac.digest(self._key, bound, "sha256")[:_TAG_BYTES]
