"""Warnings about the data for the job's owner: truncation, long answers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from app.formats.question_answering import QuestionExample
from app.formats.token_classification import AnnotatedText
from worker.encoding.answer_spans import MAX_ANSWER_TOKENS, tokens_in_span
from worker.encoding.segmentation import Segmentation, find_units
from worker.encoding.tags import count_unspelled
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import question_token_limit
from worker.training.encoders.question_answering import target_answer_span
from worker.training.encoders.rows import EncoderRow, TextRow


def dataset_warnings(
    train: Sequence[EncoderRow], valid: Sequence[EncoderRow], task: EncoderTask
) -> Iterator[str]:
    """Yield warnings about truncated texts."""
    for role, rows in (("training", train), ("validation", valid)):
        truncated = _count_examples(row for row in rows if not row.is_complete)
        if truncated:
            total = _count_examples(rows)
            yield f"{truncated} of {total} examples of the {role} file {_truncation_text(task)}"


def answer_length_warnings(
    role: str, examples: Sequence[QuestionExample], rows: Sequence[TextRow]
) -> Iterator[str]:
    """Yield a warning about answers longer than the default limit of requests."""
    lengths: Counter[int] = Counter()
    counted_to: Counter[int] = Counter()
    for row in rows:
        example = examples[row.example_index]
        if example.answers:
            spans = row.text.offsets[tokens_in_span(row.text, *target_answer_span(example))]
            # Windows overlap; count each token once.
            lengths[row.example_index] += int((spans[:, 0] >= counted_to[row.example_index]).sum())
            counted_to[row.example_index] = int(
                spans[:, 1].max(initial=counted_to[row.example_index])
            )
    num_long = sum(length > MAX_ANSWER_TOKENS for length in lengths.values())
    if num_long:
        yield (
            f"{num_long} of {len(examples)} examples of the {role} file have an answer of more "
            f"than {MAX_ANSWER_TOKENS} tokens, which is found only by requests with a larger "
            "max_answer_len."
        )


def unspelled_entity_warnings(
    role: str, examples: Sequence[AnnotatedText], rows: Sequence[TextRow], task: EncoderTask
) -> Iterator[str]:
    """Yield a warning about entities that the model cannot find: they cut one of its units."""
    counts = {
        row.example_index: count_unspelled(
            examples[row.example_index].entities,
            find_units(examples[row.example_index].text, row.text.offsets, task.segmentation),
            row.text.is_complete,
        )
        for row in rows
    }
    cut = sorted(index + 1 for index, count in counts.items() if count)
    if cut:
        yield (
            f"{sum(counts.values())} of {sum(len(example.entities) for example in examples)} "
            f"entities of the {role} file begin or end inside a "
            f"{'word' if task.segmentation == Segmentation.WORDS else 'piece of the tokenizer'}, "
            f"where the model cannot: they are not learned and count as missed. They are in "
            f"{len(cut)} examples, first in number {cut[0]}."
        )


def _truncation_text(task: EncoderTask) -> str:
    if task.method == "question_answering":
        # Contexts are never truncated, but split into windows.
        limit = question_token_limit(task.max_length)
        return (
            f"have a question longer than {limit} tokens, half of the model's {task.max_length}; "
            "it is truncated."
        )
    return f"are longer than {task.max_length} tokens and are truncated."


def _count_examples(rows: Iterable[EncoderRow]) -> int:
    """Count distinct examples; an example with a long context has several rows."""
    return len({row.example_index for row in rows})
