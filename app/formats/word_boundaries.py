"""Words and signs of a text: where a span may begin and end without cutting anything."""

import re
import unicodedata

WORD = re.compile(r"\w+|[^\w\s]")
ZERO_WIDTH_JOINER = "\u200d"
# They stand within words and are not seen: soft hyphen, (non-)joiners of letters, word joiner.
INVISIBLE = frozenset(f"\u00ad\u200c{ZERO_WIDTH_JOINER}\u2060")
# On one letter. Nobody writes more, and looking for a letter below a million takes long.
MAX_MARKS = 64

CharSpan = tuple[int, int]


def find_words(text: str) -> tuple[CharSpan, ...]:
    """Where the words and signs of a text are, [start, end) each.

    Accents, vowel signs and the like belong to what they stand on: to Python's `\\w` they are no
    part of a word, so that it would make six of "हिन्दी".
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
    """Whether the characters before and behind this place belong to one word or sign."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if before.isspace() or after.isspace():
        return False
    if is_mark(after) or before == ZERO_WIDTH_JOINER:
        return True
    return _is_letter(after) and _is_letter(_base_character(text, at - 1))


def is_mark(character: str) -> bool:
    """Whether it belongs to the character before it."""
    return unicodedata.category(character)[0] == "M" or character in INVISIBLE


def _base_character(text: str, at: int) -> str:
    """What the mark at this place stands on, or the character itself that is there."""
    for place in range(at, max(at - MAX_MARKS, 0), -1):
        if not is_mark(text[place]):
            return text[place]
    return text[max(at - MAX_MARKS, 0)]


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"
