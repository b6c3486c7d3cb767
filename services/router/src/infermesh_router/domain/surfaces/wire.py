"""What a client's protocol is to the rest: a translation, without any I/O of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from infermesh_common.errors import InfermeshError
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject, Surface


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client's body asks for.

    Attributes:
        body: the request in OpenAI's form.
        model: the model it names.
        stream: whether the client wants the answer as it is produced.
    """

    body: JsonObject
    model: str
    stream: bool = False


class AnswerWriter(Protocol):
    """Writes the answer to one request."""

    def whole(self, answer: Answer) -> bytes:
        """The body of an answer that is not streamed."""

    def chunks(self, chunks: Sequence[Chunk]) -> bytes:
        """What the next pieces of a streamed answer are on this wire; may be nothing."""

    def end(self) -> bytes:
        """What ends a streamed answer that is whole."""

    def failure(self, error: InfermeshError) -> bytes:
        """The event that tells a client of a failure after its stream began."""


class Wire(Protocol):
    """A protocol of clients. One object serves every request; it keeps nothing of any.

    Attributes:
        name: for the ledger, for example "openai.chat".
        surface: what is asked of a model.
    """

    name: str
    surface: Surface

    def read(self, body: JsonObject) -> Asked:
        """What `body` asks for.

        Raises:
            InvalidArgument: names the field.
        """

    def writer(self, body: JsonObject) -> AnswerWriter:
        """For the answer to `body`, which `read` has accepted."""
