"""What the words of a prompt say beyond its vector: numbers, negation, names, units."""

import re
from dataclasses import dataclass

LONGEST_CHARACTERS = 8192
"""Only so much of a prompt is read: the features are about questions, not documents."""

# Scripts written without spaces are taken character by character.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*"
)
_NAME = re.compile(r"(?<![.!?\n])(?<=\s)[A-Z][\w-]+")
_UNIT = re.compile(
    r"\d\s?(%|\u20ac|\u00a3|\$|\u00b0[CF]?|[^\W\d_]{1,7})|([\u20ac\u00a3$])\s?\d", re.UNICODE
)

_NEGATIONS = frozenset(
    "no not never none nobody nothing neither nor without cannot unable hardly "
    "nicht kein keine keinen nie ohne pas jamais sans sin nunca nao senza mai".split()
)
_NUMERALS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of one prompt; kept with its entry.

    Attributes:
        words: in lower case.
        numbers: as written, English numerals up to twelve as digits.
        units: what stands beside a number.
        names: capitalised words that do not begin a sentence, in lower case.
        negated: whether a word of negation occurs.
        length: number of words, repetitions included.
    """

    words: frozenset[str]
    numbers: frozenset[str]
    units: frozenset[str]
    names: frozenset[str]
    negated: bool
    length: int

    @classmethod
    def of(cls, text: str) -> "Wording":
        """Reads the beginning of a prompt."""
        read = text[:LONGEST_CHARACTERS]
        listed = _WORD.findall(read.lower())
        words = frozenset(listed)
        numbers = {word.replace(",", "") for word in words if word[0].isdigit()}
        numbers.update(_NUMERALS[word] for word in words if word in _NUMERALS)
        units = {before or after for before, after in _UNIT.findall(read.lower())}
        return cls(
            words=words,
            numbers=frozenset(numbers),
            units=frozenset(units),
            names=frozenset(name.lower() for name in _NAME.findall(read)),
            negated=any(word in _NEGATIONS or word.endswith(("n't", "n\u2019t")) for word in words),
            length=len(listed),
        )


def mismatches(left: Wording, right: Wording) -> tuple[float, float, float, float]:
    """Whether numbers, negation, names and units differ: 1 where they do, else 0."""
    return (
        float(left.numbers != right.numbers),
        float(left.negated != right.negated),
        float(left.names != right.names),
        float(left.units != right.units),
    )
