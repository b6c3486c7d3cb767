"""Contextual retrieval: documents, and the passages found in them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrievalDocument:
    """A document in chunks."""

    id: str
    """The application's name of it; unique within a call."""
    chunks: Sequence[str]
    """Its text in order, each piece as long as what is to be found."""
    title: str = ""
    """Or path."""


@dataclass(frozen=True, slots=True)
class ContextualChunk:
    """A chunk in its context."""

    document: str
    index: int
    """Place in the document, from 0."""
    context: str
    """Lines to put before it."""
    embedding: tuple[float, ...]
    """Unit vector of context and chunk; empty unless it was asked for."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was found."""

    document: str
    index: int
    context: str
    score: float
    """What passages are ordered by; comparable within one query."""
    similarity: float
    """Cosine of its best window with the query."""
    lexical: float
    """BM25 score."""
