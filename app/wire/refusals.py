"""Errors of validation that have OpenAI's own sentence and name the field at fault."""

from typing import LiteralString

from pydantic_core import PydanticCustomError

REFUSAL: LiteralString = "refusal"


def refusal(sentence: str, *, param: str, code: str | None = None) -> PydanticCustomError:
    """Make an error for a validator of several fields, whose place alone names none of them."""
    context = {"sentence": sentence, "param": param, "code": code}
    return PydanticCustomError(REFUSAL, "{sentence}", context)
