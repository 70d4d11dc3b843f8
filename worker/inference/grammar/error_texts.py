"""Sentences for what llguidance says of a grammar: its own are about lexers and parsers."""

import re

MAX_CHARACTERS = 300
TOO_MUCH_WORK = (
    "it takes too much work: repetitions of repetitions, long lengths of patterns, or many choices "
    "at once. Simplify its patterns, or give lengths by 'maxLength' alone"
)
# Parts of errors that say that a limit of `LIMITS` was reached.
LIMIT_MARKS = (
    "fuel exhausted",
    "initial lexer configuration",
    "lexer error",
    "schema too large",
    "too many",
    "too complex",
    "Unable to determine if regex is empty",
)
# The place in a grammar that the client has not written, and what failed there.
PREFIX = re.compile(r"^(?:at \d+\(\d+\): )?(?:failed to compile JSON schema: )?")
# What follows is the source of the grammar.
SOURCE = re.compile(r" \d+ \| ")


def explain(message: str) -> str:
    """Write an error of llguidance as one line for the author of a schema."""
    line = " ".join(message.replace("<non-verbose/>", "").split())
    if any(mark in line for mark in LIMIT_MARKS):
        return TOO_MUCH_WORK
    if "doesn't satisfy the grammar" in line:
        return "none of the model's tokens can come next"
    return SOURCE.split(PREFIX.sub("", line), maxsplit=1)[0][:MAX_CHARACTERS]
