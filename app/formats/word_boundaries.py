"""Word boundaries of a text in any script: the places where a span may start and end."""

import re
import unicodedata

WORD = re.compile(r"\w+|[^\w\s]")
ZERO_WIDTH_JOINER = "\u200d"
# Invisible characters inside words: soft hyphen, zero-width (non-)joiners, word joiner.
INVISIBLE = frozenset(f"\u00ad\u200c{ZERO_WIDTH_JOINER}\u2060")
# Combining marks considered per base character. Real text has fewer, and the bound keeps a text of
# a million marks from taking quadratic time.
MAX_MARKS = 64

CharSpan = tuple[int, int]


def find_words(text: str) -> tuple[CharSpan, ...]:
    """The words and symbols of a text, as [start, end) spans in code points.

    Combining marks (accents, vowel signs) belong to their base character. Python's `\\w` excludes
    them and would split "हिन्दी" into six words.
    """
    found: list[CharSpan] = []
    for match in WORD.finditer(text):
        start, end = match.span()
        if found and splits_word(text, start):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return tuple(found)


def splits_word(text: str, at: int) -> bool:
    """True if a boundary before character `at` would be inside a word or symbol."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if before.isspace() or after.isspace():
        return False
    if is_mark(after) or before == ZERO_WIDTH_JOINER:
        return True
    return _is_word_character(after) and _is_word_character(_base_character(text, at - 1))


def is_mark(character: str) -> bool:
    """True if the character belongs to the one before it."""
    return unicodedata.category(character)[0] == "M" or character in INVISIBLE


def _base_character(text: str, at: int) -> str:
    """The base character of the mark at this place; the character itself if it is no mark."""
    for place in range(at, max(at - MAX_MARKS, 0), -1):
        if not is_mark(text[place]):
            return text[place]
    return text[max(at - MAX_MARKS, 0)]


def _is_word_character(character: str) -> bool:
    return character.isalnum() or character == "_"
