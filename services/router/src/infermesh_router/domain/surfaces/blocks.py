"""A streamed answer as blocks, one open at a time, in the order in which they began.

Chat's chunks may go back and forth between text, reasoning and several calls of tools; the wires
that have blocks end one before the next begins. What belongs to a later block waits until the one
that is open can be closed: text and reasoning at any time, a call once its arguments are complete.
"""

from collections import deque
from enum import Enum
from typing import Protocol

import orjson

from infermesh_router.domain.answer import broken
from infermesh_router.domain.surfaces.chat_answer import Spoken, Thinking, ToolCall


class Kind(Enum):
    """What a block holds."""

    THINKING = "thinking"
    REDACTED = "redacted"
    TEXT = "text"
    REFUSAL = "refusal"
    CALL = "call"


class Block:
    """One block.

    Attributes:
        kind: what it holds.
        number: its place, from 0; its id on the wire is made of it.
        call_id: of a call; empty when the provider gave none.
        name: of the function that is called.
        signature: of reasoning.
        data: redacted reasoning.
        index: which of the pieces of signed reasoning continue it; None: none that are known.
    """

    __slots__ = ("kind", "number", "call_id", "name", "signature", "data", "index", "_pieces")

    def __init__(self, kind: Kind, number: int) -> None:
        self.kind = kind
        self.number = number
        self.call_id = self.name = self.signature = self.data = ""
        self.index: int | None = None
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """Everything it holds so far: text, reasoning, a refusal or arguments."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, piece: str) -> None:
        """Takes more text in."""
        self._pieces.append(piece)

    def ready(self) -> bool:
        """Whether it may be opened."""
        return self.kind is not Kind.CALL or bool(self.name)

    def complete(self) -> bool:
        """Whether it may be closed before the answer ends."""
        if self.kind is not Kind.CALL:
            return True
        if not self.text.rstrip().endswith("}"):
            return False
        try:
            orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return False
        return True

    def thinking(self) -> Thinking:
        """The reasoning it holds."""
        return Thinking(self.text, self.signature, self.data)


class BlockSink(Protocol):
    """Writes blocks on a wire. Blocks are opened in the order of their numbers."""

    def opened(self, block: Block) -> None:
        """`block` begins; what it holds so far follows."""

    def grew(self, block: Block, piece: str) -> None:
        """`block`, which is open, holds `piece` more."""

    def closed(self, block: Block) -> None:
        """`block` is complete."""


class BlockSequence:
    """Puts what a stream says into blocks.

    Args:
        sink: where they are written.
    """

    def __init__(self, sink: BlockSink) -> None:
        self._sink = sink
        self._count = 0
        self._last: Block | None = None
        self._open: Block | None = None
        self._waiting: deque[Block] = deque()
        self._calls: dict[int, Block] = {}
        self._thoughts: dict[int, Block] = {}

    def add(self, spoken: Spoken) -> None:
        """Takes in what a chunk says.

        Raises:
            Unavailable: PROVIDER_STREAM_BROKEN, it does not fit to what was said before.
        """
        # A stored answer is replayed with all its reasoning in one chunk, and in both forms.
        if spoken.reasoning and not any(thought.text for thought in spoken.thinking):
            self._say(Kind.THINKING, spoken.reasoning)
        for thought in spoken.thinking:
            self._think(thought)
        if spoken.text:
            self._say(Kind.TEXT, spoken.text)
        if spoken.refusal:
            self._say(Kind.REFUSAL, spoken.refusal)
        for call in spoken.calls:
            self._call(call)

    def finish(self) -> None:
        """The answer is whole: opens and closes what is left.

        Raises:
            Unavailable: PROVIDER_STREAM_BROKEN, a call has no name.
        """
        self._close()
        while self._waiting:
            if not self._waiting[0].ready():
                raise broken("a call has no name")
            self._show(self._waiting.popleft())
            self._close()

    def _say(self, kind: Kind, piece: str) -> None:
        last = self._last
        if last is None or last.kind is not kind or last.signature:
            last = self._new(kind)
        self._grow(last, piece)

    def _think(self, thought: Thinking) -> None:
        if thought.redacted:
            self._new(Kind.REDACTED).data = thought.redacted
            self._advance()
            return
        block, piece = self._thought(thought)
        # Before it can be closed.
        block.signature += thought.signature
        self._grow(block, piece)

    def _thought(self, thought: Thinking) -> tuple[Block, str]:
        """The block that `thought` belongs to, and what it adds to its text."""
        known = self._thoughts.get(thought.index) if thought.index is not None else None
        if known is not None:
            return known, thought.text
        last = self._last
        # Told before without a number: as readable reasoning only.
        continued = (
            last is not None
            and last.kind is Kind.THINKING
            and last.index is None
            and not last.signature
        )
        if last is not None and continued and thought.text.startswith(last.text):
            # Told again as a whole, with its signature.
            block, piece = last, thought.text[len(last.text) :]
        elif last is not None and continued and not thought.text:
            block, piece = last, ""
        else:
            block, piece = self._new(Kind.THINKING), thought.text
        if thought.index is not None:
            block.index = thought.index
            self._thoughts[thought.index] = block
        return block, piece

    def _call(self, call: ToolCall) -> None:
        block = self._calls.get(call.index) if call.index is not None else None
        if block is None:
            block = self._new(Kind.CALL)
            if call.index is not None:
                self._calls[call.index] = block
        if not self._shown(block):
            # Some providers repeat both in every piece.
            block.call_id = block.call_id or call.id
            block.name = block.name or call.name
        self._grow(block, call.arguments)

    def _new(self, kind: Kind) -> Block:
        block = self._last = Block(kind, self._count)
        self._count += 1
        self._waiting.append(block)
        return block

    def _shown(self, block: Block) -> bool:
        return block not in self._waiting

    def _grow(self, block: Block, piece: str) -> None:
        block.add(piece)
        if block is self._open:
            if piece:
                self._sink.grew(block, piece)
        elif self._shown(block) and piece.strip():
            raise broken("a part of the answer went on after its end")
        if self._waiting:
            self._advance()

    def _advance(self) -> None:
        while self._waiting and self._waiting[0].ready():
            if self._open is not None and not self._open.complete():
                return
            self._close()
            self._show(self._waiting.popleft())

    def _show(self, block: Block) -> None:
        self._open = block
        self._sink.opened(block)
        if text := block.text:
            self._sink.grew(block, text)

    def _close(self) -> None:
        if self._open is not None:
            self._sink.closed(self._open)
            self._open = None
