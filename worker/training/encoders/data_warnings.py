"""Warnings about the data for the job's owner: long answers, entities that cannot be found."""

from collections import Counter
from collections.abc import Iterator, Sequence

from app.formats.question_answering import QuestionExample
from worker.encoding.answer_spans import MAX_ANSWER_TOKENS, tokens_in_span
from worker.encoding.rows.question_answering import target_answer_span
from worker.encoding.rows.row import TextRow
from worker.encoding.segmentation import Segmentation, find_units
from worker.encoding.tags import count_unspelled
from worker.encoding.task import EncoderTask
from worker.training.encoders.methods import DataSplit


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


def unspelled_entity_warnings(role: str, split: DataSplit, task: EncoderTask) -> Iterator[str]:
    """Yield a warning about entities that the model cannot find: they cut one of its units."""
    examples = split.examples
    counts = {
        row.example_index: count_unspelled(
            examples[row.example_index].entities,
            find_units(examples[row.example_index].text, row.text.offsets, task.segmentation),
            row.text.is_complete,
        )
        for row in split.rows
    }
    numbers = split.numbers or range(1, len(examples) + 1)
    cut = sorted(numbers[index] for index, count in counts.items() if count)
    if cut:
        yield (
            f"{sum(counts.values())} of {sum(len(example.entities) for example in examples)} "
            f"entities of the {role} file begin or end inside a "
            f"{'word' if task.segmentation == Segmentation.WORDS else 'piece of the tokenizer'}, "
            f"where the model cannot: they are not learned and count as missed. They are in "
            f"{len(cut)} examples, first in number {cut[0]}."
        )
