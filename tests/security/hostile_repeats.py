"""Hostile inputs for a regular expression, made of repeats of its own pieces.

A pattern whose time is not linear backtracks over text that its parts accept in several ways.
Such text consists of repeats of what single parts accept, after the text that leads to them, and
ends with something that the rest of the pattern rejects.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from re import _constants as codes
from re import _parser
from typing import Any

# Characters that stand for a category; a negated one needs characters outside of it.
CATEGORY_CHARS = {
    codes.CATEGORY_DIGIT: "0",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_WORD: "!",
}
# Tried for classes that exclude characters, and as ends that a pattern may reject.
OTHER_CHARS = "a0 !-.:/@\"'\n\x00"
REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
# Of a class's characters, this many are tried.
MAX_CLASS_CHARS = 3
# Pieces that are also tried in pairs.
MAX_PAIRED_PIECES = 24
ENDS = ("\x00", "", " ", "!")

Node = tuple[Any, Any]


def hostile_repeats(pattern: str, flags: int = 0) -> Iterator[tuple[str, str, str]]:
    """Yield inputs as (prefix, repeated piece, end), without duplicates."""
    pieces = list(dict.fromkeys(_pieces(list(_parser.parse(pattern, flags)), "")))
    units = list(dict.fromkeys(piece for _, piece in pieces))[:MAX_PAIRED_PIECES]
    pairs = [("", first + second) for first, second in product(units, units)]
    yield from dict.fromkeys(
        [
            *((prefix, piece, end) for prefix, piece in pieces if piece for end in ENDS),
            *((prefix, piece, end) for prefix, piece in pairs if piece for end in ENDS[:1]),
        ]
    )


def _pieces(sequence: Sequence[Node], before: str) -> Iterator[tuple[str, str]]:
    """Yield (text before, piece) for each node, each run of nodes, and the nodes within."""
    for start in range(len(sequence)):
        for end in range(start + 1, len(sequence) + 1):
            yield before + _sample(sequence[:start]), _sample(sequence[start:end])
        yield from _pieces_within(sequence[start], before + _sample(sequence[:start]))


def _pieces_within(node: Node, before: str) -> Iterator[tuple[str, str]]:
    operation, argument = node
    if operation in REPEATS:
        yield from _pieces(list(argument[2]), before)
    elif operation is codes.SUBPATTERN:
        yield from _pieces(list(argument[3]), before)
    elif operation is codes.ATOMIC_GROUP:
        yield from _pieces(list(argument), before)
    elif operation is codes.BRANCH:
        for branch in argument[1]:
            yield from _pieces(list(branch), before)
    elif operation in (codes.ASSERT, codes.ASSERT_NOT):
        yield from _pieces(list(argument[1]), before)
    else:
        yield from ((before, char) for char in _class_chars(node))


def _sample(sequence: Sequence[Node]) -> str:
    """A text that the nodes accept, with one round of each repeat."""
    return "".join(map(_sample_node, sequence))


def _sample_node(node: Node) -> str:
    operation, argument = node
    if operation in REPEATS:
        least, _, body = argument
        return _sample(list(body)) * max(1, min(least, 10))
    if operation is codes.SUBPATTERN:
        return _sample(list(argument[3]))
    if operation is codes.ATOMIC_GROUP:
        return _sample(list(argument))
    if operation is codes.BRANCH:
        return _sample(list(argument[1][0]))
    return next(iter(_class_chars(node)), "")


def _class_chars(node: Node) -> list[str]:
    """Characters that a node for a single character accepts; none for an assertion."""
    operation, argument = node
    if operation is codes.LITERAL:
        return [chr(argument)]
    if operation is codes.NOT_LITERAL:
        return [char for char in OTHER_CHARS if ord(char) != argument][:MAX_CLASS_CHARS]
    if operation is codes.ANY:
        return ["a", " "]
    if operation is not codes.IN:
        return []
    if argument[0][0] is codes.NEGATE:
        excluded = re.compile("|".join(map(re.escape, _members(argument[1:]))) or "(?!)")
        return [char for char in OTHER_CHARS if not excluded.match(char)][:MAX_CLASS_CHARS]
    return _members(argument)[:MAX_CLASS_CHARS]


def _members(items: Sequence[Node]) -> list[str]:
    members = []
    for operation, argument in items:
        if operation is codes.LITERAL:
            members.append(chr(argument))
        elif operation is codes.RANGE:
            members.append(chr(argument[0]))
        elif operation is codes.CATEGORY:
            members.append(CATEGORY_CHARS[argument])
    return members
