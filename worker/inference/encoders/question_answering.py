"""What tuned encoders answer to questions on a context."""

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
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.inference.encoders import tasks
from worker.inference.encoders.registry import ServedEncoder


async def tokenize_windows(
    served: ServedEncoder, question: str, context: str, *, truncate: bool = False
) -> list[TokenizedText]:
    """A question with each window of its context.

    Raises InvalidRequest for a question that is too long, unless it may be cut, and Unavailable.
    """
    length = tasks.get_task(served, "question_answering").max_length
    reader = EncoderTokenizer(served.engine.tokenizer.hf_tokenizer, length)

    def windowed() -> list[TokenizedText]:
        found = reader.tokenize_windows(question, context, overlap=min(WINDOW_OVERLAP, length // 4))
        if not found[0].is_complete and not truncate:
            raise question_too_long_error(reader, question)
        return found

    return await tasks.in_tokenizer_thread(served, windowed, num_texts=1)


def extract_answers(
    served: ServedEncoder,
    context: str,
    read: Sequence[TokenizedText],
    hidden: Sequence[Tensor],
    options: InferenceParameters = tasks.DEFAULT_PARAMETERS,
) -> dict[str, Any] | list[dict[str, Any]]:
    """The best answer in the context, or "" if there is none, as Hugging Face writes it; a list of
    them if more than one is asked for."""
    task = tasks.get_task(served, "question_answering")
    scores = [_position_scores(served, *pair) for pair in zip(read, hidden, strict=True)]
    count = options.top_k or 1
    every = rank_answers(
        context,
        read,
        scores,
        max_tokens=options.max_answer_len or MAX_ANSWER_TOKENS,
        whole_words=options.align_to_words is not False,
    )
    found = list(islice(every, count))
    none = AnswerSpan(0, 0, no_answer_score(scores))
    may_be_none = options.handle_impossible_answer
    if task.multi_label if may_be_none is None else may_be_none:
        found = sorted([*found, none], key=lambda one: -one.score)[:count]
    elif not found:
        found = [AnswerSpan(0, 0, -np.inf)]
    shown = [_to_hugging_face(one, context) for one in found]
    return shown[0] if count == 1 else shown


def _position_scores(served: ServedEncoder, window: TokenizedText, states: Tensor) -> Scores:
    logits = tasks.head_logits(served, states)
    forbidden = torch.from_numpy(~answer_mask(window))[:, None].to(logits.device)
    found: Scores = functional.log_softmax(logits.masked_fill(forbidden, -1e9), dim=0).cpu().numpy()
    return found


def _to_hugging_face(found: AnswerSpan, context: str) -> dict[str, Any]:
    return {
        "answer": context[found.start : found.end],
        "score": float(np.exp(found.score)),
        "start": found.start,
        "end": found.end,
    }


def question_too_long_error(reader: EncoderTokenizer, question: str) -> InvalidRequest:
    """Half of what the model reads is left for the context, so that it can find an answer."""
    return InvalidRequest(
        f"This model reads {reader.max_length} tokens, of which a question may take "
        f"{reader.max_question_tokens}, and inputs.question has {reader.count_tokens(question)}. Shorten it, "
        f"or ask for it to be cut {tasks.HUGGING_FACE.truncation_hint}.",
        param="inputs.question",
        code="context_length_exceeded",
    )
