"""What the owner of a job should know of its data, once it is in tokens."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from app.formats.question_answering import Question
from worker.encoding.answer_spans import LONGEST, tokens_of
from worker.encoding.task import Task
from worker.encoding.tokenizer import most_of_question
from worker.training.encoders.question_answering import answer_of
from worker.training.encoders.rows import AnyRow, Row


def notes(train: Sequence[AnyRow], valid: Sequence[AnyRow], task: Task) -> Iterator[str]:
    """Sentences on texts that are cut off, and on those that are in both files."""
    for role, rows in (("training", train), ("validation", valid)):
        cut = _examples(row for row in rows if not row.whole)
        if cut:
            yield f"{cut} of {_examples(rows)} examples of the {role} file {_too_long(task)}"
    known = {row.key for row in train}
    both = _examples(row for row in valid if row.key in known)
    if both:
        yield (
            f"{both} of {_examples(valid)} examples of the validation file are in the training "
            "file too: its measures are better than the model."
        )


def notes_on_answers(role: str, examples: Sequence[Question], rows: Sequence[Row]) -> Iterator[str]:
    """A sentence on answers that are longer than those that are looked for."""
    lengths: Counter[int] = Counter()
    behind: Counter[int] = Counter()
    for row in rows:
        one = examples[row.source]
        if one.answers:
            places = row.text.offsets[tokens_of(row.text, *answer_of(one))]
            # Windows share tokens.
            lengths[row.source] += int((places[:, 0] >= behind[row.source]).sum())
            behind[row.source] = int(places[:, 1].max(initial=behind[row.source]))
    long = sum(length > LONGEST for length in lengths.values())
    if long:
        yield (
            f"{long} of {len(examples)} examples of the {role} file have an answer of more "
            f"than {LONGEST} tokens, which is found only by requests with a larger max_answer_len."
        )


def _too_long(task: Task) -> str:
    if task.method == "question_answering":
        # Their contexts are read whole, in windows.
        most = most_of_question(task.length)
        return (
            f"have a question that is longer than the {most} tokens that are read of one, half of "
            f"the {task.length} that are read at once; what comes after them is left out."
        )
    return (
        f"are longer than the {task.length} tokens that are read; what comes after them is left "
        "out."
    )


def _examples(rows: Iterable[AnyRow]) -> int:
    """How many examples they are of: a long context makes several rows."""
    return len({row.source for row in rows})
