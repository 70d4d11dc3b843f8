"""Rows of question answering: a question with each window of its context."""

from collections.abc import Sequence

import numpy as np

from app.formats.question_answering import QuestionExample
from app.formats.word_boundaries import CharSpan, trim_span
from worker.encoding.answer_spans import WINDOW_OVERLAP, cuts_words, token_span
from worker.encoding.rows.row import TextRow
from worker.encoding.segmentation import Segmentation, choose_segmentation
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText


def infer_task(
    examples: Sequence[QuestionExample], length: int, tokenizer: EncoderTokenizer
) -> EncoderTask:
    """Infer the task: it allows "no answer" if any question of the file has none, and answers that
    end inside words if more than a slip of the file's do."""
    answered = [example for example in examples if example.answers]
    num_cut = sum(cuts_words(item.context, target_answer_span(item)) for item in answered)
    return EncoderTask(
        method="question_answering",
        labels=("start", "end"),
        allow_no_answer=len(answered) < len(examples),
        max_length=length,
        segmentation=choose_segmentation(
            ((Segmentation.WORDS, num_cut), (Segmentation.PIECES, 0)), total=len(answered)
        ),
    )


def build_rows(
    examples: Sequence[QuestionExample], task: EncoderTask, tokenizer: EncoderTokenizer
) -> list[TextRow]:
    """Tokenize into a row per window. Targets [2]: start and end token, or 0, 0 without answer."""
    rows = []
    contexts: dict[str, int] = {}
    for example_index, example in enumerate(examples):
        overlap = min(WINDOW_OVERLAP, tokenizer.max_length // 4)
        source_id = contexts.setdefault(example.context, len(contexts))
        for window in tokenizer.tokenize_windows(
            example.question, example.context, overlap=overlap
        ):
            target = np.array(_target_tokens(window, example), dtype=np.int64)
            rows.append(TextRow(window, target, example_index, source_id))
    return rows


def _target_tokens(window: TokenizedText, example: QuestionExample) -> tuple[int, int]:
    if not example.answers:
        return 0, 0
    return token_span(window, *target_answer_span(example))


def target_answer_span(example: QuestionExample) -> CharSpan:
    """Return the character span of the answer to learn: the first one."""
    first = example.answers[0]
    return trim_span(example.context, first.start, first.start + len(first.text))
