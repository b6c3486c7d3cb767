"""Script and language of a text, as far as it takes to keep two of them apart.

Scripts by Unicode block; languages of the Latin script by their commonest words. It leaves a text
"latin" when it is not sure, English included: a wrong guess would separate what belongs together,
and the vectors themselves are apart for two languages.
"""

import re
import unicodedata
from collections import Counter

LATIN = "latin"
_SAMPLE_CHARS = 2000
_LEAST_WORDS = 2
"""Common words of a language that a text must hold to be taken for it."""
_MARGIN = 2
"""And so many times those of English."""

# The commonest function words of each, without those that another of them or English has.
_COMMON = {
    "de": "der die das und ist nicht ich wie ein eine einen mein meine kann für mit wird sind",
    "es": "los las una qué cómo es por para mi puedo está con cuál dónde que hacer",
    "fr": "les une est je vous mon ma des comment puis pour avec dans pas quel quelle où faire",
    "it": "il gli una che come è sono mio mia posso per con della quale dove perché ho non",
    "nl": "het een ik niet hoe van mijn kan wat zijn voor met dat wordt naar waar welke je",
    "pt": "os uma como é eu meu minha posso para com não qual onde por está são fazer você que",
}
_WORDS = {language: frozenset(words.split()) for language, words in _COMMON.items()}
_ENGLISH = frozenset(
    "the of and to in is are was do does did how what when where why which who can i my you your "
    "it for with on a an this that have has be not from at will would should".split()
)
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str:
    """The language or script of a text: `de`, `es`, ..., or `latin`, `cyrillic`, `arabic`, `cjk`.

    A text without letters is `latin`.
    """
    sample = text[:_SAMPLE_CHARS]
    if sample.isascii():
        script = LATIN
    else:
        counts = Counter(script_of(letter) for letter in sample if letter.isalpha())
        script = counts.most_common(1)[0][0] if counts else LATIN
    if script != LATIN:
        return script
    words = Counter(_WORD.findall(sample.lower()))
    english = sum(words[word] for word in _ENGLISH)
    found = {name: sum(words[word] for word in known) for name, known in _WORDS.items()}
    best = max(found, key=found.__getitem__)
    if found[best] >= _LEAST_WORDS and found[best] >= _MARGIN * english:
        return best
    return LATIN


def script_of(letter: str) -> str:
    """Script of one letter, from the first word of its Unicode name; that of a sign is `other`."""
    if letter.isascii():
        return LATIN if letter.isalpha() else "other"
    name = unicodedata.name(letter, "other").split()[0].lower()
    return "cjk" if name in ("cjk", "hiragana", "katakana", "hangul") else name
