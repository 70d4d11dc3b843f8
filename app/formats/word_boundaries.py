"""Word boundaries of a text in any script: the positions where a span may start and end."""

import re
import unicodedata
from collections.abc import Sequence

WORD_OR_SYMBOL = re.compile(r"\w+|[^\w\s]")
ZERO_WIDTH_JOINER = "\u200d"
# Invisible characters inside words: soft hyphen, zero-width (non-)joiners, word joiner.
INVISIBLE = frozenset(f"\u00ad\u200c{ZERO_WIDTH_JOINER}\u2060")
# Combining marks considered per base character. Real text has fewer, and the bound keeps a text of
# a million marks from taking quadratic time.
MAX_MARKS = 64
# Scripts written without spaces between words, and the punctuation of East Asia, as a class of
# regular expressions. Hangul is not one of them: Korean has spaces.
UNSPACED_SCRIPTS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u312f\u3190-\u31ff\u3400-\u9fff"
    "\uf900-\ufaff\uff00-\uff9f\U00020000-\U0003ffff"
)
UNSPACED_CHARACTER = re.compile(f"[{UNSPACED_SCRIPTS}]")

CharSpan = tuple[int, int]


def find_words(text: str) -> tuple[CharSpan, ...]:
    """Find the words and symbols of a text, as [start, end) spans in code points.

    Combining marks (accents, vowel signs) belong to their base character. Python's `\\w` excludes
    them and would split "हिन्दी" into six words.
    """
    words: list[CharSpan] = []
    for match in WORD_OR_SYMBOL.finditer(text):
        start, end = match.span()
        if words and is_inside_word(text, start):
            words[-1] = (words[-1][0], end)
        else:
            words.append((start, end))
    return tuple(words)


def trim_span(text: str, start: int, end: int) -> CharSpan:
    """Strip whitespace from a span."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    return start, start + len(part.strip())


def join_tokens(tokens: Sequence[str]) -> tuple[str, tuple[CharSpan, ...]]:
    """Join tokens to the text that they were cut from, and find their spans in it.

    They are separated by a space, unless one of the two neighbouring characters is of a script
    without spaces.
    """
    parts: list[str] = []
    spans: list[CharSpan] = []
    length = 0
    for token in tokens:
        if parts and not _has_unspaced(parts[-1][-1] + token[0]):
            parts.append(" ")
            length += 1
        spans.append((length, length + len(token)))
        parts.append(token)
        length += len(token)
    return "".join(parts), tuple(spans)


def _has_unspaced(text: str) -> bool:
    return UNSPACED_CHARACTER.search(text) is not None


def is_inside_spaced_word(text: str, index: int) -> bool:
    """True if a boundary before character `index` would be inside a word that spaces separate."""
    if not is_inside_word(text, index):
        return False
    return is_mark(text[index]) or not _has_unspaced(text[index - 1 : index + 1])


def is_inside_word(text: str, index: int) -> bool:
    """True if a boundary before character `index` would be inside a word or symbol."""
    if not 0 < index < len(text):
        return False
    before, after = text[index - 1], text[index]
    if before.isspace() or after.isspace():
        return False
    if is_mark(after) or before == ZERO_WIDTH_JOINER:
        return True
    return _is_word_character(after) and _is_word_character(_base_character(text, index - 1))


def is_mark(character: str) -> bool:
    """True if the character combines with the preceding character."""
    return unicodedata.category(character)[0] == "M" or character in INVISIBLE


def _base_character(text: str, index: int) -> str:
    """The base character of the mark at `index`; the character itself if it is not a mark."""
    first = max(index - MAX_MARKS, 0)
    for candidate in range(index, first, -1):
        if not is_mark(text[candidate]):
            return text[candidate]
    return text[first]


def _is_word_character(character: str) -> bool:
    return character.isalnum() or character == "_"
