"""Sentences about files of which nothing is learned, whichever process notices it."""

from app.formats.format import FormatName

NOT_LEARNED = (
    "{subject}, from example 1 on. Each {outcome}, has weight 0, or is not rendered by the base "
    "model's chat template as an answer to the messages before it."
)
NOT_COMPLETED = "None of the completions can be learned, from example 1 on: each {outcome}."
TRUNCATED = "is truncated away (a row has at most {max_tokens} tokens)"
DROPPED = (
    "is in an example that is left out (it is longer than {max_tokens} tokens, and long_rows is "
    "'drop')"
)
NOT_PREFERRED = (
    "No pair of outputs can be learned from, from example 1 on. In each, both are the same, are "
    "longer than the {max_tokens} tokens of a row with the input, or are not rendered by the base "
    "model's chat template as answers to the input."
)


def describe_nothing_learned(
    format: FormatName, num_turns: int, max_tokens: int, *, drops_long_rows: bool = False
) -> str:
    """Say that a file in a format has nothing to learn, and why."""
    outcome = (DROPPED if drops_long_rows else TRUNCATED).format(max_tokens=max_tokens)
    match format:
        case FormatName.PREFERENCE:
            return NOT_PREFERRED.format(max_tokens=max_tokens)
        case FormatName.COMPLETION:
            return NOT_COMPLETED.format(outcome=outcome)
    subject = f"None of the {num_turns} assistant turns can be learned"
    return NOT_LEARNED.format(subject=subject, outcome=outcome)
