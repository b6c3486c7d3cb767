"""Words of prose and code, in the form in which they are counted."""

import re

_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_ENDINGS = ("ing", "ed", "es", "s")
_SHORTEST_STEM = 4

STOP_WORDS = frozenset(
    "a an and are as at be but by can do does for how i if in into is it no not of on or such that "
    "the their then there these they this to was what when where which who why will with "
    "you".split()
)
"""Too common in questions and texts to tell one from another."""


def lexemes(text: str) -> list[str]:
    """Words in order, lower case, without the commonest endings. An identifier of several words
    (`readFile`, `read_file`) is there as a whole and in its parts."""
    found: list[str] = []
    for word in _WORD.findall(text):
        lower = word.lower()
        if lower in STOP_WORDS:
            continue
        # Names in code are ASCII; "größe" is one word.
        parts = [part.lower() for part in _PART.findall(word)] if word.isascii() else []
        if len(parts) > 1:
            found.append(lower)
            found.extend(_stem(part) for part in parts if part not in STOP_WORDS)
        else:
            found.append(_stem(lower))
    return found


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word[: -len(ending)]
    return word
