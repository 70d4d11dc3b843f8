"""Predictions of the engine that will serve a model, asked for as clients ask.

The trainer's own predictions are made from the tokens of its rows. These are made from the texts of
the file, by the code and the files that answer requests, so that a difference between the two is
found before anyone relies on the model.
"""

import asyncio
import json
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.catalog import CatalogModel
from app.formats.classification import LabelledText
from app.formats.question_answering import QuestionExample
from app.formats.token_classification import AnnotatedText, EntitySpan
from app.wire.encoders import ClassifyRequest, InferenceRequest, QuestionInput
from worker.encoding.task import Method
from worker.inference.encoders import routes
from worker.inference.encoders.served_encoder import ServedEncoder, load_encoder
from worker.training.encoders.micro_batches import Array
from worker.training.encoders.model import EncoderWeights

# Texts of one request, and questions asked at the same time.
CHUNK_SIZE = 64


@contextmanager
def serve(weights: EncoderWeights, base: CatalogModel, cache: Path) -> Iterator[ServedEncoder]:
    """Load the weights into an engine, from files as they are stored."""
    with tempfile.TemporaryDirectory(prefix="served-") as folder:
        weights.save(Path(folder))
        engine = load_encoder(base, cache)
        try:
            yield ServedEncoder(base.id, engine, engine.load_tuned(Path(folder)))
        finally:
            engine.close()


def predict_as_served(served: ServedEncoder, method: Method, examples: Sequence[Any]) -> Any:
    """Predict each example, in the form that the objective's `score` takes."""
    return asyncio.run(PREDICTORS[method](served, examples))


async def _classify(served: ServedEncoder, examples: Sequence[LabelledText]) -> Array:
    """Ask for the labels' probabilities [examples, labels]."""
    probabilities: list[list[float]] = []
    for chunk in _chunks(examples):
        texts = [example.text for example in chunk]
        request = ClassifyRequest(model=served.name, input=texts, truncate_prompt_tokens=-1)
        response = json.loads((await routes.classify(request, served)).body)
        probabilities += [item["probs"] for item in response["data"]]
    return np.array(probabilities, dtype=np.float32)


async def _find_entities(
    served: ServedEncoder, examples: Sequence[AnnotatedText]
) -> list[tuple[EntitySpan, ...]]:
    predictions: list[tuple[EntitySpan, ...]] = []
    for chunk in _chunks(examples):
        response = await _infer(served, [example.text for example in chunk])
        predictions += [
            tuple(EntitySpan(one["start"], one["end"], one["entity_group"]) for one in entities)
            for entities in response
        ]
    return predictions


async def _answer(served: ServedEncoder, examples: Sequence[QuestionExample]) -> list[str]:
    answers: list[str] = []
    for chunk in _chunks(examples):
        answers += await asyncio.gather(*(_answer_one(served, example) for example in chunk))
    return answers


async def _answer_one(served: ServedEncoder, example: QuestionExample) -> str:
    question = QuestionInput(question=example.question, context=example.context)
    answer: str = (await _infer(served, question))["answer"]
    return answer


async def _embed(served: ServedEncoder, texts: Sequence[str]) -> Array:
    """Ask for vectors of length 1 [texts, width]."""
    vectors: list[list[float]] = []
    for chunk in _chunks(texts):
        vectors += await _infer(served, list(chunk))
    return np.array(vectors, dtype=np.float32)


async def _infer(served: ServedEncoder, inputs: QuestionInput | list[str]) -> Any:
    # A text longer than the model's input is truncated, as it is in training.
    request = InferenceRequest(inputs=inputs, truncate=True)
    return json.loads((await routes.infer(request, served)).body)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK_SIZE):
        yield items[start : start + CHUNK_SIZE]


PREDICTORS: Mapping[Method, Callable[[ServedEncoder, Any], Coroutine[Any, Any, Any]]] = {
    "classification": _classify,
    "token_classification": _find_entities,
    "question_answering": _answer,
    "embedding": _embed,
}
