"""Responses of encoders as JSON bytes, with their metadata for the API.

Serializing a large response is slow, so this runs on the event loop only for small ones.
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
    """A response's JSON and its metadata for the API."""

    body: bytes
    metadata: EngineMetadata


def classify_response(
    request: wire.ClassifyRequest,
    labels: Sequence[str],
    classification: Classification,
    metadata: EngineMetadata,
) -> EncodedResponse:
    """Build vLLM's classify response, plus `labels`, the class names in the order of `probs`."""
    items = [
        {
            "index": index,
            "label": labels[indices[0]] if indices else None,
            "probs": classification.probabilities[index],
            "num_classes": len(labels),
        }
        for index, indices in enumerate(classification.label_indices)
    ]
    response_id = f"classify-{random_alphanumeric(24)}"
    document = {
        "id": response_id,
        "object": "list",
        "created": int(time.time()),
        "model": request.model,
        "data": items,
        "labels": list(labels),
        "usage": {
            "prompt_tokens": metadata.tokens,
            "total_tokens": metadata.tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }
    return EncodedResponse(
        dump_json(document), metadata.model_copy(update={"response_id": response_id})
    )


def rank_labels(
    labels: Sequence[str], probabilities: NDArray[np.float32], top: int | None
) -> list[dict[str, Any]]:
    """Format one text's classification as Hugging Face does: the most likely labels first."""
    ranking = (-probabilities).argsort()[:top]
    return [{"label": labels[index], "score": float(probabilities[index])} for index in ranking]


def count_tokens(texts: Sequence[TokenizedText]) -> int:
    """Count the tokens of all texts."""
    return sum(len(text.ids) for text in texts)


def dump_json(document: object) -> bytes:
    """Serialize with orjson, which takes NumPy arrays as they are."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
