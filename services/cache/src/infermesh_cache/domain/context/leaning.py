"""Whether a turn can be understood without the turns before it.

The question is decided for caution: a turn that would stand alone and is taken to lean costs a
miss when it is asked after another history; the reverse costs a wrong answer. So a turn stands
alone only when it names something specific, and nothing in it points, begins in the middle, or
takes what it is about for known ("the side effects?").
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from infermesh_cache.domain.context import words
from infermesh_cache.domain.context.language import LATIN, language_of

_TOKEN = re.compile(r"[^\W_]+(?:['’.\-/][^\W_]+)*|[.?!;:,\n]")
_SUPERLATIVE = re.compile(r"\w{2,}est$")
_BREAKS = frozenset(".?!;:,\n")
_ARTICLES = frozenset("a an the".split())
_JOINS = frozenset("and but or so".split())
_BE = frozenset("is are was were be been isn't aren't".split())
_LONG_TOKENS = 60
"""A turn of more words brings its own context; what points in it mostly points into it."""
_SHOWN_TOKENS = 200
_FEWEST_WORDS = 3
_LONGEST_ADVERBIAL = 8


def why_leaning(text: str) -> str | None:
    """Why a turn leans on the turns before it, in a word; None when it stands alone."""
    if language_of(text) != LATIN:
        # The words below are English.
        return "language"
    tokens = _tokens(text)
    content = [token for token in tokens if token not in _BREAKS]
    if len(content) < _FEWEST_WORDS:
        return "short"
    specific = _specific_places(tokens)
    if not specific:
        return "nothing_specific"
    if len(content) > _LONG_TOKENS:
        return None
    lower = [token.lower().replace("’", "'") for token in tokens]
    return (
        _begins_in_the_middle(lower)
        or _points(lower, specific)
        or _revises(lower, specific)
        or _compares_to_nothing(lower)
        or _takes_as_known(tokens, lower, specific)
    )


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        # What's, dog's: the word is before the apostrophe. Don't is one.
        head, mark, tail = token.replace("’", "'").partition("'")
        found.append(head if mark and tail in ("s", "re", "m", "ve", "ll", "d") else token)
        if len(found) >= _SHOWN_TOKENS:
            break
    return found


def _specific_places(tokens: Sequence[str]) -> list[int]:
    """Places of the words that say what is talked of: names, and words that are not generic."""
    return [place for place, token in enumerate(tokens) if _is_specific(tokens, place)]


def _is_specific(tokens: Sequence[str], place: int) -> bool:
    token = tokens[place]
    if token in _BREAKS:
        return False
    if _is_name(tokens, place):
        return True
    lower = token.lower()
    return not (
        lower in words.FUNCTION
        or lower in words.GENERIC
        or lower in words.POINTERS
        or lower in words.OPENERS
        or lower in words.REVISIONS
        or lower in words.OPEN_HEADS
        or len(lower) < 2
        or _SUPERLATIVE.fullmatch(lower) is not None
        or lower.isdigit()
    )


def _is_name(tokens: Sequence[str], place: int) -> bool:
    """Capital letters where no sentence begins."""
    token = tokens[place]
    if len(token) > 1 and token.isupper():
        return True
    begins = place == 0 or tokens[place - 1] in ".?!\n"
    return not begins and token[0].isupper() and token != "I" and not token.startswith("I'")


def _begins_in_the_middle(lower: Sequence[str]) -> str | None:
    if lower[0] in words.OPENERS:
        return "opener"
    # "In 2020?" goes on; "In general, what are ..." does not.
    if lower[0] in words.PREPOSITIONS and "," not in lower[:_LONGEST_ADVERBIAL]:
        return "opener"
    if lower[0] in ("what", "how") and lower[1] in ("about", "if", "else"):
        return "opener"
    if lower[0] == "why" and lower[1] in ("not", *_BREAKS):
        return "opener"
    # "Which is younger?"
    if lower[0] == "which" and lower[1] in words.AUXILIARIES and not set(lower[2:4]) & _ARTICLES:
        return "opener"
    return None


def _points(lower: Sequence[str], specific: Sequence[int]) -> str | None:
    """Whether a word points at something that is not in the turn itself."""
    for place, token in enumerate(lower):
        if not _is_pointer(lower, place):
            continue
        # "My card has not come. Where is it?": what it points at is in an earlier clause.
        breaks = [at for at in range(place) if _begins_clause(lower, at)]
        if not breaks or not any(at < breaks[-1] for at in specific):
            return f"pointer:{token}"
    return None


def _begins_clause(lower: Sequence[str], place: int) -> bool:
    """Whether a clause begins after this word: "X, and is it ...", not "X and Y"."""
    if lower[place] in _BREAKS:
        return True
    after = lower[place + 1] if place + 1 < len(lower) else ""
    return lower[place] in _JOINS and (after in words.AUXILIARIES or after in words.ASKING)


def _is_pointer(lower: Sequence[str], place: int) -> bool:
    token = lower[place]
    before = lower[place - 1] if place else ""
    after = lower[place + 1] if place + 1 < len(lower) else ""
    if token == "it" and after in words.EXPLETIVE and {"to", "that"} & set(lower[place:]):
        # "Is it safe to ...": it is what follows.
        return False
    if token in words.POINTERS:
        return True
    if token == "that":
        # Else it joins clauses: "the claim that ...".
        ends = not after or after in _BREAKS
        return ends or not before or before in words.PREPOSITIONS or before in words.AUXILIARIES
    if token == "there":
        return before not in _BE and after not in _BE
    if token == "one":
        # "How does one learn", "one of the": no pointers.
        return after != "of" and before not in words.AUXILIARIES
    if token == "so":
        return after in ("many", "much")
    if token == "other":
        return True
    # "Is it better?" than what; "more" of what.
    return token in ("more", "less") and (not after or after in _BREAKS)


def _revises(lower: Sequence[str], specific: Sequence[int]) -> str | None:
    """Whether it asks for a change of what was answered."""
    for before, token in pairwise(lower):
        if before == "your" and (token in words.OWN_WORK or token in words.GENERIC):
            return "revision"
    brings_text = ":" in lower or "\n" in lower
    if lower[0] in words.REVISIONS and lower[0] not in ("explain", "fix") and not brings_text:
        return "revision"
    return None


def _compares_to_nothing(lower: Sequence[str]) -> str | None:
    """Whether one side of a comparison or of a relation is left out."""
    last = next((token for token in reversed(lower) if token not in _BREAKS), "")
    if last in words.TWO_SIDED and not words.SIDES & set(lower):
        return "one_sided"
    for place, token in enumerate(lower[:-1]):
        after = lower[place + 1]
        # "The impact on biology": of what?
        if token in words.RELATIONS and after in ("on", "to", "with", "for"):
            return "one_sided"
    return None


def _takes_as_known(
    tokens: Sequence[str], lower: Sequence[str], specific: Sequence[int]
) -> str | None:
    """Definite phrases that nothing in the turn makes definite."""
    names = {place for place in specific if _is_name(tokens, place)}
    for place, token in enumerate(lower):
        if token == "the":
            end = _phrase_end(lower, place + 1)
            if not _is_definite(lower, place + 1, end, names, specific):
                return "definite"
        elif token in ("what", "which") and place + 2 < len(lower):
            if lower[place + 1] in words.OPEN_HEADS and lower[place + 2] in words.AUXILIARIES:
                return "open_head"
    return None


def _phrase_end(lower: Sequence[str], start: int) -> int:
    """Where the words of a noun phrase end."""
    end = start
    while end < len(lower) and lower[end] not in _BREAKS:
        # "The pros and cons of ..." is one phrase.
        joins = lower[end] in ("and", "or") and start < end
        if lower[end] in words.FUNCTION and not joins:
            break
        end += 1
    return end


def _is_definite(
    lower: Sequence[str], start: int, end: int, names: set[int], specific: Sequence[int]
) -> bool:
    """Whether the phrase after "the" says by itself, or by what follows, which one it means."""
    if start == end:
        # "The more ..."; "the ones" is a pointer already.
        return True
    phrase = range(start, end)
    if any(place in names or lower[place][0].isdigit() for place in phrase):
        return True
    if any(lower[place] in words.UNIQUE for place in phrase):
        return True
    if all(_SUPERLATIVE.fullmatch(lower[place]) for place in phrase):
        # "Which dog is the smallest?" says of what; "the youngest found" does not.
        return lower[start - 2] in words.AUXILIARIES and any(place < start for place in specific)
    if end < len(lower) and lower[end] == "like":
        end += 1
    follows = end < len(lower) and lower[end] in words.COMPLEMENT
    if follows and any(place > end for place in specific):
        return True
    return False
