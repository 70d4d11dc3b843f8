"""Examples with texts longer than the model reads: truncated, left out, or an error."""

from collections.abc import Iterable, Sequence
from typing import Any

from app.wire.long_rows import LongRowPolicy
from worker.encoding.rows.methods import ROW_METHODS, Examples
from worker.encoding.rows.row import EncoderRow
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, question_token_limit
from worker.training.chat_data import MAX_LISTED_EXAMPLES
from worker.training.errors import user_error


def find_long(
    examples: Examples, task: EncoderTask, tokenizer: EncoderTokenizer
) -> tuple[int, ...]:
    """Find the indices of the examples of which some text is truncated."""
    return list_truncated(ROW_METHODS[task.method].build_rows(examples, task, tokenizer))


def list_truncated(rows: Iterable[EncoderRow]) -> tuple[int, ...]:
    """List the indices of the truncated examples; one with a long context has several rows."""
    return tuple(sorted({row.example_index for row in rows if not row.is_complete}))


def leave_out(examples: Sequence[Any], long: Sequence[int]) -> tuple[list[Any], list[int]]:
    """Leave out the long examples of a training file; return the others, and their numbers.

    Raises TrainingError if none is left.
    """
    kept = sorted(set(range(len(examples))) - set(long))
    if not kept:
        message = (
            "No example of the training file fits into the model as a whole, and long_rows is "
            "'drop'. Use 'truncate', or a larger max_seq_length."
        )
        raise user_error("invalid_training_file", message, "training_file")
    return [examples[index] for index in kept], [index + 1 for index in kept]


def require_none(long: Sequence[int], total: int, task: EncoderTask, param: str) -> None:
    """Raise TrainingError if there are long examples."""
    if long:
        what = _describe(long, total, task, param.replace("_", " "))
        advice = "Shorten them, or use long_rows 'truncate' or 'drop'."
        raise user_error(f"invalid_{param}", f"{what}. {advice}", param)


def warn(
    long: Sequence[int], total: int, task: EncoderTask, role: str, policy: LongRowPolicy
) -> list[str]:
    """Say how many examples of a file are too long, which, and what was done with them."""
    if not long:
        return []
    outcome = (
        "They are left out (long_rows is 'drop')."
        if policy == LongRowPolicy.DROP
        else "They are truncated, as texts of requests are."
    )
    return [f"{_describe(long, total, task, role)}. {outcome}"]


def _describe(long: Sequence[int], total: int, task: EncoderTask, role: str) -> str:
    """Say how many examples of a file are too long, and which."""
    shown = ", ".join(str(index + 1) for index in long[:MAX_LISTED_EXAMPLES])
    more = len(long) - MAX_LISTED_EXAMPLES
    return (
        f"{len(long)} of {total} examples of the {role} {_describe_limit(task)}: examples "
        f"{shown}{f' and {more} more' if more > 0 else ''}"
    )


def _describe_limit(task: EncoderTask) -> str:
    if task.method == "question_answering":
        # Contexts are never truncated, but split into windows.
        limit = question_token_limit(task.max_length)
        return f"have a question longer than {limit} tokens, half of the model's {task.max_length}"
    return f"are longer than {task.max_length} tokens"
