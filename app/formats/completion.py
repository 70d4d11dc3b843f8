"""Legacy pairs: `{"prompt": "…", "completion": "…"}`. A model learns the completion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.content import FORBIDDEN_START
from app.formats.content import check_text as check_tokens
from app.formats.errors import Flaw, kind
from app.formats.fields import check_keys, check_text
from app.formats.format import Format

SHAPE = 'Write it as {"prompt": "…", "completion": "…"}.'


@dataclass(frozen=True, slots=True)
class CompletionExample:
    """A text and how it goes on."""

    prompt: str
    completion: str


def example(row: Mapping[str, Any]) -> CompletionExample:
    """A checked row as an example."""
    return CompletionExample(row["prompt"], row["completion"])


def check(row: Any) -> None:
    """Raises Flaw unless `row` is a pair of texts; the prompt may be empty."""
    check_keys(row, ("prompt", "completion"), shape=SHAPE)
    if not isinstance(row["prompt"], str):
        raise Flaw(f": prompt is {kind(row['prompt'])}", "Write a string.")
    check_text(row, "completion")
    check_tokens(row["prompt"])
    check_tokens(row["completion"])


def plain(row: Any) -> int:
    """See Format. Plain is a pair of texts and nothing else."""
    try:
        prompt, completion = row["prompt"], row["completion"]
        if len(row) != 2 or type(prompt) is not str or type(completion) is not str:
            return 0
        if FORBIDDEN_START in prompt or FORBIDDEN_START in completion or not completion.strip():
            return 0
    except (KeyError, TypeError):
        return 0
    return 4


FORMAT = Format(
    name="completion",
    claims=lambda row: "prompt" in row and "completion" in row,
    check=check,
    plain=plain,
)
