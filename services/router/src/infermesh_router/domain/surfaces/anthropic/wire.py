"""`POST /v1/messages`."""

from infermesh_router.domain.request import JsonObject, Surface, parse_model
from infermesh_router.domain.surfaces.anthropic.request import read_message_request
from infermesh_router.domain.surfaces.anthropic.stream import MessageWriter
from infermesh_router.domain.surfaces.wire import Asked


class MessagesWire:
    """Implements `Wire`."""

    name = "anthropic.messages"
    surface = Surface.CHAT

    def read(self, body: JsonObject) -> Asked:
        """See `Wire.read`."""
        return read_message_request(body)

    def writer(self, body: JsonObject) -> MessageWriter:
        """See `Wire.writer`."""
        return MessageWriter(parse_model(body))
