"""Answers of encoders as bytes of JSON, and what the API is told of them.

Large ones take long to write, so nothing here runs on the event loop unless the answer is small.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.ids import random_alphanumeric
from app.wire import encoders as wire
from app.wire.engine_metadata import EngineMetadata
from worker.encoding.tokenizer import TokenizedText
from worker.inference.encoders.tasks import Classification


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """An answer's JSON, and what its texts were like."""

    body: bytes
    metadata: EngineMetadata


def classify_response(
    asked: wire.ClassifyRequest,
    labels: Sequence[str],
    found: Classification,
    observed: EngineMetadata,
) -> EncodedResponse:
    """vLLM's answer, and the names of the classes in the order of their probabilities."""
    items = [
        {
            "index": index,
            "label": labels[chosen[0]] if chosen else None,
            "probs": found.probabilities[index],
            "num_classes": len(labels),
        }
        for index, chosen in enumerate(found.label_indices)
    ]
    answer_id = f"classify-{random_alphanumeric(24)}"
    document = {
        "id": answer_id,
        "object": "list",
        "created": int(time.time()),
        "model": asked.model,
        "data": items,
        "labels": list(labels),
        "usage": {
            "prompt_tokens": observed.tokens,
            "total_tokens": observed.tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }
    return EncodedResponse(
        dump_json(document), observed.model_copy(update={"answer_id": answer_id})
    )


def rank_labels(
    labels: Sequence[str], chances: NDArray[np.float32], top: int | None
) -> list[dict[str, Any]]:
    """Hugging Face's answer for one text: the likeliest classes first."""
    order = (-chances).argsort()[:top]
    return [{"label": labels[place], "score": float(chances[place])} for place in order]


def count_tokens(texts: Sequence[TokenizedText]) -> int:
    """Tokens of all texts."""
    return sum(len(text.ids) for text in texts)


def dump_json(document: object) -> bytes:
    """Arrays of numbers need not become lists of objects first."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
