"""Extractive question answering with fine-tuned encoders."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.errors import InvalidRequest
from app.wire.encoders import InferenceParameters
from worker.encoding.answer_spans import (
    MAX_ANSWER_TOKENS,
    WINDOW_OVERLAP,
    AnswerSpan,
    Scores,
    answer_mask,
    no_answer_score,
    rank_answers,
)
from worker.encoding.segmentation import Segmentation
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.inference.encoders import tasks
from worker.inference.encoders.served_encoder import ServedEncoder


async def tokenize_windows(
    served: ServedEncoder, question: str, context: str, *, truncate: bool = False
) -> list[TokenizedText]:
    """Tokenize a question with each window of its context.

    Raises InvalidRequest for a question that is too long, unless `truncate`, and
    ServiceUnavailable.
    """
    length = tasks.get_task(served, "question_answering").max_length
    tokenizer = served.engine.tokenizer.with_length(length)

    def tokenize(_: Sequence[str]) -> list[TokenizedText]:
        overlap = min(WINDOW_OVERLAP, length // 4)
        windows = tokenizer.tokenize_windows(question, context, overlap=overlap)
        if not windows[0].is_complete and not truncate:
            raise question_too_long_error(tokenizer, question)
        return windows

    # A single text, so that its windows are made at once.
    return await tasks.map_in_tokenizer_thread(served, tokenize, [question + context])


def extract_answers(
    served: ServedEncoder,
    context: str,
    windows: Sequence[TokenizedText],
    hidden: Sequence[Tensor],
    options: InferenceParameters = tasks.DEFAULT_PARAMETERS,
) -> dict[str, Any] | list[dict[str, Any]]:
    """Find the best answer in Hugging Face's format, "" for none; a list if `top_k` > 1."""
    task = tasks.get_task(served, "question_answering")
    scores = [_position_scores(served, *pair) for pair in zip(windows, hidden, strict=True)]
    top_k = options.top_k or 1
    ranked = rank_answers(
        context,
        windows,
        scores,
        max_tokens=options.max_answer_len or MAX_ANSWER_TOKENS,
        whole_words=_is_aligned_to_words(task, options),
    )
    answers = list(islice(ranked, top_k))
    no_answer = AnswerSpan(0, 0, no_answer_score(scores))
    may_have_no_answer = options.handle_impossible_answer
    if task.allow_no_answer if may_have_no_answer is None else may_have_no_answer:
        answers = sorted([*answers, no_answer], key=lambda answer: -answer.score)[:top_k]
    elif not answers:
        answers = [AnswerSpan(0, 0, -np.inf)]
    responses = [_to_hugging_face(answer, context) for answer in answers]
    return responses[0] if top_k == 1 else responses


def _is_aligned_to_words(task: EncoderTask, options: InferenceParameters) -> bool:
    if options.align_to_words is None:
        return task.segmentation == Segmentation.WORDS
    return options.align_to_words


def _position_scores(served: ServedEncoder, window: TokenizedText, hidden: Tensor) -> Scores:
    logits = tasks.head_logits(served, hidden)
    forbidden = torch.from_numpy(~answer_mask(window))[:, None].to(logits.device)
    scores: Scores = (
        functional.log_softmax(logits.masked_fill(forbidden, -1e9), dim=0).cpu().numpy()
    )
    return scores


def _to_hugging_face(answer: AnswerSpan, context: str) -> dict[str, Any]:
    return {
        "answer": context[answer.start : answer.end],
        "score": float(np.exp(answer.score)),
        "start": answer.start,
        "end": answer.end,
    }


def question_too_long_error(tokenizer: EncoderTokenizer, question: str) -> InvalidRequest:
    """Make the error for a long question: half of the model's input is for the context."""
    return InvalidRequest(
        f"This model reads {tokenizer.max_length} tokens, of which a question may take "
        f"{tokenizer.max_question_tokens}, and inputs.question has "
        f"{tokenizer.count_tokens(question)}. Shorten it, or ask for it to be cut "
        f"{tasks.HUGGING_FACE.truncation_hint}.",
        param="inputs.question",
        code="context_length_exceeded",
    )
