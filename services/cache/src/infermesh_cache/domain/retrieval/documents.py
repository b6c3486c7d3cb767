"""Chunks of documents, and what a chunk needs to be understood by itself.

After "Introducing Contextual Retrieval" (Anthropic, 2024), with rules where that has an LLM write:
a chunk is preceded by the title of its document, the headings or definitions it stands under, and
the signature it continues.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WINDOW_CHARS = 600
"""Of a chunk, embedded at a time: about 200 tokens of prose and 256 of code, what MiniLM sees."""
STEP_CHARS = 300
_MOST_SCOPES = 2
_LONGEST_LINE_CHARS = 160

_MODIFIERS = (
    r"(?:(?:pub|export|public|private|protected|static|async|abstract|final|default|unsafe|const|"
    r"inline|virtual|extern|constexpr)(?:\([^)\n]*\))?[ \t]+)*"
)
_KEYWORDS = (
    r"(?:fn|def|class|struct|enum|trait|impl|interface|function|func|module|mod|type|namespace|"
    r"template|union)\b"
)
_SIGNATURE = re.compile(
    rf"^[ \t]*{_MODIFIERS}{_KEYWORDS}[^\n{{]*" r"|^#{1,6} [^\n]*"
    # C and its kin: a type, a name, parameters, and no semicolon.
    r"|^[A-Za-z_][\w:<>*& \t]*\b[\w:~]+\([^;{\n]*\)[ \t]*(?:const)?[ \t]*(?:\{|$)",
    re.MULTILINE,
)
_SCOPE = re.compile(
    r"\b(?:class|struct|enum|trait|impl|interface|namespace|module|mod)\b|^(?P<heading>#{1,6}) "
)


@dataclass(frozen=True, slots=True)
class Document:
    """An application's document, in chunks.

    Attributes:
        id: the application's; unique within an index.
        title: or path; may be empty.
        chunks: its text in order, each as long as what is to be found.
    """

    id: str
    title: str
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextualChunk:
    """A chunk with what it needs to be understood by itself.

    Attributes:
        document: id of its document.
        index: its place in the document, from 0.
        content: as it was given.
        context: lines that precede it when it is indexed; may be empty.
    """

    document: str
    index: int
    content: str
    context: str

    @property
    def text(self) -> str:
        """Context and content."""
        return f"{self.context}\n\n{self.content}" if self.context else self.content


def signatures(text: str) -> list[str]:
    """Headings and the first lines of definitions, in order."""
    return [
        match.group().strip()[:_LONGEST_LINE_CHARS].rstrip() for match in _SIGNATURE.finditer(text)
    ]


def contextualise(document: Document, summaries: Sequence[str] = ()) -> list[ContextualChunk]:
    """The chunks of a document in their context.

    Args:
        document: it.
        summaries: one more line for each chunk, where an LLM wrote some; empty for none.
    """
    chunks: list[ContextualChunk] = []
    scopes: list[str] = []
    last = ""
    for index, content in enumerate(document.chunks):
        summary = summaries[index] if index < len(summaries) else ""
        lines = [document.title, *scopes, last, summary]
        context = "\n".join(dict.fromkeys(line for line in lines if line))
        chunks.append(ContextualChunk(document.id, index, content, context))
        for signature in signatures(content):
            scopes = _within(scopes, signature)
            last = signature
    return chunks


def windows(text: str) -> Iterator[str]:
    """Overlapping pieces of a text, each as long as an embedding model sees."""
    for start in range(0, max(1, len(text) - STEP_CHARS), STEP_CHARS):
        yield text[start : start + WINDOW_CHARS]


def _within(scopes: list[str], signature: str) -> list[str]:
    """The headings or definitions that what follows a signature stands under."""
    found = _SCOPE.search(signature)
    if found is None:
        return scopes
    heading = found.group("heading")
    if heading:
        # A heading ends those of its level and below.
        above = [s for s in scopes if s.startswith("#") and _level(s) < len(heading)]
        return [*above, signature]
    return [*scopes, signature][-_MOST_SCOPES:]


def _level(heading: str) -> int:
    return len(heading) - len(heading.lstrip("#"))
