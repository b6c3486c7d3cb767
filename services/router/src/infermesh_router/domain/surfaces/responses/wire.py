"""`POST /v1/responses`."""

from infermesh_router.domain.request import JsonObject, Surface, parse_model
from infermesh_router.domain.surfaces.responses.request import read_response_request
from infermesh_router.domain.surfaces.responses.stream import ResponseWriter
from infermesh_router.domain.surfaces.wire import Asked


class ResponsesWire:
    """Implements `Wire`."""

    name = "openai.responses"
    surface = Surface.CHAT

    def read(self, body: JsonObject) -> Asked:
        """See `Wire.read`."""
        return read_response_request(body)

    def writer(self, body: JsonObject) -> ResponseWriter:
        """See `Wire.writer`."""
        return ResponseWriter(body, parse_model(body))
