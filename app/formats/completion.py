"""Legacy completion format: `{"prompt": "…", "completion": "…"}`. The loss is on the completion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.content import FORBIDDEN_PREFIX, reject_control_tokens
from app.formats.errors import InvalidExample, json_type_name
from app.formats.fields import check_keys, check_text
from app.formats.format import Format, FormatName

SHAPE_HINT = 'Write it as {"prompt": "…", "completion": "…"}.'


@dataclass(frozen=True, slots=True)
class CompletionExample:
    """A prompt and its continuation."""

    prompt: str
    completion: str


def to_example(row: Mapping[str, Any]) -> CompletionExample:
    """Convert a checked row."""
    return CompletionExample(row["prompt"], row["completion"])


def check(row: Any) -> None:
    """Raise InvalidExample unless `row` is a pair of texts; the prompt may be empty."""
    check_keys(row, ("prompt", "completion"), hint=SHAPE_HINT)
    if not isinstance(row["prompt"], str):
        raise InvalidExample(f": prompt is {json_type_name(row['prompt'])}", "Write a string.")
    check_text(row, "completion")
    reject_control_tokens(row["prompt"])
    reject_control_tokens(row["completion"])


def fast_check(row: Any) -> int:
    """See Format. Passes pairs of texts without any other key."""
    try:
        prompt, completion = row["prompt"], row["completion"]
        if len(row) != 2 or type(prompt) is not str or type(completion) is not str:
            return 0
        if FORBIDDEN_PREFIX in prompt or FORBIDDEN_PREFIX in completion or not completion.strip():
            return 0
    except (KeyError, TypeError):
        return 0
    return 4


FORMAT = Format(
    name=FormatName.COMPLETION,
    matches=lambda row: "prompt" in row and "completion" in row,
    check=check,
    fast_check=fast_check,
)
