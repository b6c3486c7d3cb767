"""What a stored answer says, for comparing it with another."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation

import orjson

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?")
# Signs that carry meaning stay: 5 % is not 5 $, and C is neither C# nor C++.
_PUNCTUATION = frozenset(
    ".,;:!?'\"`()[]{}<>*_-\u2010\u2011\u2012\u2013\u2014\u2018\u2019\u201c\u201d\u2026"
)
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_FENCE = re.compile(r"^\s*```\w*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class NotAnAnswer(ValueError):
    """A body in which no answer can be found."""


def said(body: bytes) -> str:
    """Everything a chat completion says: texts, refusals and calls of tools of all choices.

    Raises:
        NotAnAnswer: it is not a chat completion.
    """
    try:
        choices = orjson.loads(body)["choices"]
        return "\n".join(part for choice in choices for part in _parts(choice["message"]))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise NotAnAnswer("not a chat completion") from error


def _parts(message: Mapping[str, object]) -> Iterator[str]:
    content = message.get("content")
    if content:
        yield content if isinstance(content, str) else _canonical(content)
    if refusal := message.get("refusal"):
        yield f"refusal: {refusal}"
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        # The identifier of a call is made anew each time.
        function = call["function"]
        yield f"{function['name']}({json_form(function['arguments'])})"


def exact_form(text: str) -> str:
    """The text itself."""
    return text


def normalised_form(text: str) -> str:
    """Without case, white space and punctuation. The signs of numbers and what is within them stay:
    -1.5 is not 15."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    out, last = [], 0
    for number in _NUMBER.finditer(folded):
        out.append(_words(folded[last : number.start()]))
        out.append(_number(number.group()))
        last = number.end()
    out.append(_words(folded[last:]))
    return " ".join(part for part in out if part)


def _words(text: str) -> str:
    return " ".join("".join(" " if c in _PUNCTUATION else c for c in text).split())


def numeric_form(text: str) -> str:
    """Its numbers in their order; a text without any is compared as normalised."""
    numbers = [_number(found.group()) for found in _NUMBER.finditer(text)]
    return " ".join(numbers) if numbers else normalised_form(text)


def _number(text: str) -> str:
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    return str(value.normalize()) if value else "0"


def json_form(text: str) -> str:
    """The value that it is as JSON, with or without a fence around it; else as normalised."""
    fenced = _FENCE.match(text)
    try:
        return _canonical(orjson.loads(fenced.group(1) if fenced else text))
    except orjson.JSONDecodeError:
        return normalised_form(text)


def _canonical(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def digest(form: str) -> str:
    """Names a form of an answer; 32 hexadecimal digits."""
    return hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()[:32]
