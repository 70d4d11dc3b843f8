"""What the owner of a job should know of its data, once it is in tokens."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from app.formats.question_answering import QuestionExample
from worker.encoding.answer_spans import MAX_ANSWER_TOKENS, tokens_in_span
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import question_token_limit
from worker.training.encoders.question_answering import target_answer_span
from worker.training.encoders.rows import EncoderRow, TextRow


def dataset_warnings(
    train: Sequence[EncoderRow], valid: Sequence[EncoderRow], task: EncoderTask
) -> Iterator[str]:
    """Sentences on texts that are cut off, and on those that are in both files."""
    for role, rows in (("training", train), ("validation", valid)):
        cut = _count_examples(row for row in rows if not row.is_complete)
        if cut:
            yield f"{cut} of {_count_examples(rows)} examples of the {role} file {_truncation_text(task)}"
    known = {row.key for row in train}
    both = _count_examples(row for row in valid if row.key in known)
    if both:
        yield (
            f"{both} of {_count_examples(valid)} examples of the validation file are in the training "
            "file too: its measures are better than the model."
        )


def answer_length_warnings(
    role: str, examples: Sequence[QuestionExample], rows: Sequence[TextRow]
) -> Iterator[str]:
    """A sentence on answers that are longer than those that are looked for."""
    lengths: Counter[int] = Counter()
    behind: Counter[int] = Counter()
    for row in rows:
        one = examples[row.example_index]
        if one.answers:
            places = row.text.offsets[tokens_in_span(row.text, *target_answer_span(one))]
            # Windows share tokens.
            lengths[row.example_index] += int((places[:, 0] >= behind[row.example_index]).sum())
            behind[row.example_index] = int(places[:, 1].max(initial=behind[row.example_index]))
    long = sum(length > MAX_ANSWER_TOKENS for length in lengths.values())
    if long:
        yield (
            f"{long} of {len(examples)} examples of the {role} file have an answer of more "
            f"than {MAX_ANSWER_TOKENS} tokens, which is found only by requests with a larger max_answer_len."
        )


def _truncation_text(task: EncoderTask) -> str:
    if task.method == "question_answering":
        # Their contexts are read whole, in windows.
        most = question_token_limit(task.max_length)
        return (
            f"have a question that is longer than the {most} tokens that are read of one, half of "
            f"the {task.max_length} that are read at once; what comes after them is left out."
        )
    return (
        f"are longer than the {task.max_length} tokens that are read; what comes after them is left "
        "out."
    )


def _count_examples(rows: Iterable[EncoderRow]) -> int:
    """How many examples they are of: a long context makes several rows."""
    return len({row.example_index for row in rows})
