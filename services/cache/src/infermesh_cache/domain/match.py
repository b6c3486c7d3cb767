"""What the semantic tier made of a request, as it is told to the caller."""

from dataclasses import dataclass
from enum import Enum


class Proceeding(Enum):
    """What was done; the contract's names."""

    NONE = "NONE"
    SERVED = "SERVED"
    EXPLORED = "EXPLORED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Match:
    """What was made of one request.

    Attributes:
        proceeding: what was done.
        reason: why, UPPER_SNAKE.
        category: whose evidence decided.
        delta: share of wrong answers permitted.
        confidence: with which the bound holds.
        error_bound: upper limit of the share of requests answered wrongly.
        similarity: cosine with the entry proposed.
        probability: that the proposal is right; None while too little is known.
        entry: fingerprint of the entry proposed, hexadecimal; empty without one.
    """

    proceeding: Proceeding
    reason: str
    category: str
    delta: float
    confidence: float
    error_bound: float = 0.0
    similarity: float = 0.0
    probability: float | None = None
    entry: str = ""
