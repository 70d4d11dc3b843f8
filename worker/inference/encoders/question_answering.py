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
    LONGEST,
    STRIDE,
    Answer,
    Scores,
    allowed,
    ranked,
    score_of_none,
)
from worker.encoding.tokenizer import Reader, Text
from worker.inference.encoders import tasks
from worker.inference.encoders.registry import ServedEncoder


async def windows(
    served: ServedEncoder, question: str, context: str, *, cut: bool = False
) -> list[Text]:
    """A question with each window of its context.

    Raises InvalidRequest for a question that is too long, unless it may be cut, and Unavailable.
    """
    length = tasks.task_of(served, "question_answering").length
    reader = Reader(served.engine.reader.tokenizer, length)

    def windowed() -> list[Text]:
        found = reader.windows(question, context, stride=min(STRIDE, length // 4))
        if not found[0].whole and not cut:
            raise question_too_long(reader, question)
        return found

    return await tasks.reading(served, windowed, texts=1)


def answer(
    served: ServedEncoder,
    context: str,
    read: Sequence[Text],
    hidden: Sequence[Tensor],
    options: InferenceParameters = tasks.USUAL,
) -> dict[str, Any] | list[dict[str, Any]]:
    """The best answer in the context, or "" if there is none, as Hugging Face writes it; a list of
    them if more than one is asked for."""
    task = tasks.task_of(served, "question_answering")
    scores = [_scores(served, *pair) for pair in zip(read, hidden, strict=True)]
    count = options.top_k or 1
    every = ranked(
        context,
        read,
        scores,
        longest=options.max_answer_len or LONGEST,
        whole_words=options.align_to_words is not False,
    )
    found = list(islice(every, count))
    none = Answer(0, 0, score_of_none(scores))
    may_be_none = options.handle_impossible_answer
    if task.many if may_be_none is None else may_be_none:
        found = sorted([*found, none], key=lambda one: -one.score)[:count]
    elif not found:
        found = [Answer(0, 0, -np.inf)]
    shown = [_as_hugging_face(one, context) for one in found]
    return shown[0] if count == 1 else shown


def _scores(served: ServedEncoder, window: Text, states: Tensor) -> Scores:
    logits = tasks.logits_of(served, states)
    forbidden = torch.from_numpy(~allowed(window))[:, None].to(logits.device)
    found: Scores = functional.log_softmax(logits.masked_fill(forbidden, -1e9), dim=0).cpu().numpy()
    return found


def _as_hugging_face(found: Answer, context: str) -> dict[str, Any]:
    return {
        "answer": context[found.start : found.end],
        "score": float(np.exp(found.score)),
        "start": found.start,
        "end": found.end,
    }


def question_too_long(reader: Reader, question: str) -> InvalidRequest:
    """Half of what the model reads is left for the context, so that it can find an answer."""
    return InvalidRequest(
        f"This model reads {reader.length} tokens, of which a question may take "
        f"{reader.longest_question}, and inputs.question has {reader.count(question)}. Shorten it, "
        f"or ask for it to be cut {tasks.HUGGING_FACE.cut}.",
        param="inputs.question",
        code="context_length_exceeded",
    )
