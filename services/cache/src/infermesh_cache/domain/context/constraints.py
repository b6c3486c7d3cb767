"""What of a question must be equal, word for word, for another question's answer to serve it.

Vectors hardly see it: "in 2 days" and "in 20 days" are nearly one point.
"""

import re
import unicodedata

from infermesh_cache.domain.context.language import LATIN, script_of

SEEN_TOKENS = 240
"""Tokens that an embedding model sees for certain; the default's limit is 256, two of them its
own. Of a longer text the end is not in the vector."""
_CHARS_PER_TOKEN = 3
"""Fewest characters of ASCII text that a token takes on average, a careful guess: of English it is
4 to 5."""
_LONGEST_WORD_CHARS = 32
"""A longer run without a space is no word but data: a key, a digest, base64."""

_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
    # "One" is a pronoun more often than a number.
    if word != "one"
} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "billion": "1000000000",
}
_UNITS = (
    r"%|°\s?[cf]\b|[ap]\.?m\b|[kmgtp]i?b\b|[kmcnµ]?[mgl]\b|km/?h|mph|lbs?\b|oz\b|ft\b|"
    r"inch(?:es)?\b|usd\b|eur\b|gbp\b|dollars?\b|euros?\b|pounds?\b|[kmb]n?\b|years?\b|"
    r"months?\b|weeks?\b|days?\b|hours?\b|minutes?\b|seconds?\b|words?\b|sentences?\b|lines?\b"
)
_NUMBER = re.compile(
    rf"([$€£¥₹]\s?)?[-+−]?\d[\d.,:/]*(?:e[-+]?\d+)?(\s?(?:{_UNITS}))?", re.IGNORECASE
)
_WORD = re.compile(r"[a-z]+")
_LITERAL = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|\"[^\"\n]+\"|“[^”\n]+”|«[^»\n]+»", re.DOTALL)
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+|\b\S+@\S+\.\w+|(?:^|(?<=\s))(?:~|\.{0,2})/\S+")
_FORMS = r"json|yaml|xml|csv|markdown|html|table|list|bullet points?|bullets|haiku|poem|email|essay"
_TONGUES = (
    "english|french|german|spanish|italian|portuguese|dutch|russian|chinese|mandarin|japanese|"
    "korean|arabic|hebrew|hindi|turkish|polish|swedish|latin|greek|python|java|javascript|"
    "typescript|rust|golang|go|c|ruby|php|kotlin|swift|scala|bash|sql|perl|haskell|matlab"
)
_NAMED = re.compile(
    rf"\b(?:as|in|into|using|with|to)\s+(?:an?\s+|the\s+)?(?:valid\s+)?"
    rf"({_FORMS}|{_TONGUES})(?![\w+#])|\b(?:in|using|with|to)\s+(c\+\+|c#|\.net)",
    re.IGNORECASE,
)


def constraints_of(text: str) -> list[list[str]]:
    """Numbers with their units, literals, addresses, data, forms and languages asked for, and
    words and signs that the embedding model does not know, each in the order they are named."""
    literals = [_squeezed(found) for found in _LITERAL.findall(text)]
    plain = _LITERAL.sub(" ", text)
    addresses = _ADDRESS.findall(plain)
    plain = _ADDRESS.sub(" ", plain)
    data = [word for word in plain.split() if len(word) > _LONGEST_WORD_CHARS]
    lower = plain.lower()
    named = sorted({"".join(groups).lower() for groups in _NAMED.findall(plain)})
    return [literals, addresses, data, _numbers(lower), named, _unknown(plain)]


def is_overlong(text: str) -> bool:
    """Whether the embedding model may not see the end of a text."""
    if len(text) > SEEN_TOKENS * _CHARS_PER_TOKEN:
        return True
    foreign = 0 if text.isascii() else sum(not letter.isascii() for letter in text)
    return foreign + (len(text) - foreign) / _CHARS_PER_TOKEN > SEEN_TOKENS


def _numbers(lower: str) -> list[str]:
    digits = _WORD.sub(lambda word: _NUMBER_WORDS.get(word.group(), word.group()), lower)
    found = (_squeezed(match.group()) for match in _NUMBER.finditer(digits))
    return [_unit(number.replace(",", "").rstrip(".:/")) for number in found]


def _unit(number: str) -> str:
    """`3days` and `3day` are one."""
    return number[:-1] if number.endswith("s") and len(number) > 3 else number


def _unknown(text: str) -> list[str]:
    """Words in scripts other than Latin and signs such as emoji: the default model has one token
    for all of those it does not know."""
    if text.isascii():
        return []
    found = []
    for word in text.split():
        if any(_is_foreign(letter) for letter in word):
            found.append(unicodedata.normalize("NFKC", word).casefold())
    return found


def _is_foreign(letter: str) -> bool:
    if letter.isascii():
        return False
    if letter.isalpha():
        return script_of(letter) != LATIN
    return unicodedata.category(letter) in ("So", "Sk", "Sm", "Cs", "Co", "Cn")


def _squeezed(text: str) -> str:
    return "".join(text.split())
