"""Server-sent events out of a provider's bytes.

Source: WHATWG HTML standard, section 9.2.6. Only `data` matters on the OpenAI wire; comments,
ids and event names are passed over.
"""

from collections.abc import Iterator


class EventTooLarge(Exception):
    """An event is larger than the limit."""


class EventDecoder:
    """Splits bytes, in whatever pieces they come, into the data of events.

    Args:
        max_event_bytes: larger events are refused.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        # Of the line under way, as it came: joining it at every piece would take quadratic time.
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of every event that `piece` completes.

        Raises:
            EventTooLarge: the event under way is.
        """
        if b"\n" in piece:
            lines = b"".join((*self._rest, piece)).split(b"\n")
            self._rest, self._rest_size = [], 0
            piece = lines.pop()
            yield from self._take(lines)
        self._rest.append(piece)
        self._rest_size += len(piece)
        if self._rest_size + self._size > self._max_event_bytes:
            raise EventTooLarge

    def _take(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            line = line.removesuffix(b"\r")
            if not line:
                if self._data:
                    yield b"\n".join(self._data)
                self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
                if self._size > self._max_event_bytes:
                    raise EventTooLarge
