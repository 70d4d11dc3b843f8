"""What tuned encoders say of texts: classes, entities, vectors."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from app.errors import InvalidRequest
from app.formats.token_classification import Entity
from app.formats.word_boundaries import Span, words
from app.wire.encoders import InferenceParameters
from worker.encoding.backbone import normalised
from worker.encoding.tags import OUTSIDE, entities_in, first_tokens, spread, tag_names
from worker.encoding.task import Method, Task
from worker.encoding.tokenizer import Reader, Text
from worker.inference.adapter_format import AdapterRefused
from worker.inference.encoders.registry import ServedEncoder

Result = TypeVar("Result")
# What a request asks for that has no parameters.
USUAL = InferenceParameters()


@dataclass(frozen=True, slots=True)
class Classes:
    """`probabilities` [texts, labels], and the places of the labels that apply to each text, the
    likeliest first."""

    probabilities: NDArray[np.float32]
    chosen: list[list[int]]


@dataclass(frozen=True, slots=True)
class Route:
    """What a route calls its texts, and how it is asked to cut one."""

    param: str
    cut: str


OPENAI = Route("input", "with truncate_prompt_tokens=-1")
HUGGING_FACE = Route("inputs", "with the parameter truncate")
CHAT = Route("messages", "by /v1/classify, with truncate_prompt_tokens=-1")


def task_of(served: ServedEncoder, *methods: Method) -> Task:
    """The model's task. Raises InvalidRequest if it is none of `methods`, if any are given."""
    task = Task(method="embedding") if served.tuned is None else served.tuned.task
    if methods and task.method not in methods:
        kind = "a base model" if served.tuned is None else f"a model for {task.method}"
        raise InvalidRequest(
            f"The model `{served.name}` is {kind}; this needs one for {' or '.join(methods)}.",
            param="model",
        )
    return task


async def read(
    served: ServedEncoder,
    texts: Sequence[str],
    *,
    cut: bool,
    to: int | None = None,
    route: Route = OPENAI,
) -> list[Text]:
    """The texts in tokens.

    Raises InvalidRequest for one that is too long, unless it may be cut, or has no token, and
    Unavailable.
    """
    reader = served.engine.reader
    length = reader.length if served.tuned is None else served.tuned.task.length
    if to is not None and 0 < to < length:
        length = max(to, 3)
    work = partial(Reader(reader.tokenizer, length).read, texts)
    found = await reading(served, work, texts=len(texts))
    for number, text in enumerate(found):
        # A text alone needs no number to be found by.
        param = f"{route.param}[{number}]" if len(texts) > 1 else route.param
        if not text.whole and not cut:
            raise too_long(length, param, route)
        if not len(text.ids):
            raise nothing_to_read(param)
    return found


def too_long(length: int, param: str, route: Route = OPENAI) -> InvalidRequest:
    return InvalidRequest(
        f"This model reads at most {length} tokens, and {param} is longer. Shorten it, or ask for "
        f"it to be cut {route.cut}.",
        param=param,
        code="context_length_exceeded",
    )


def nothing_to_read(param: str) -> InvalidRequest:
    """Nothing would be computed of it: not even special tokens stand around it."""
    return InvalidRequest(
        f"Invalid '{param}': expected a text with something that this model can read.",
        param=param,
        code="invalid_value",
    )


def classify(served: ServedEncoder, vectors: Sequence[Tensor]) -> Classes:
    """Which labels texts have, by their vectors."""
    task = task_of(served, "classification")
    logits = logits_of(served, torch.stack(list(vectors)))
    chances = (logits.sigmoid() if task.many else logits.softmax(-1)).cpu().numpy()
    if not task.many:
        return Classes(chances, [[place] for place in chances.argmax(1).tolist()])
    order = (-chances).argsort(1)
    applies = np.take_along_axis(chances, order, 1) >= 0.5
    return Classes(chances, [row[yes].tolist() for row, yes in zip(order, applies, strict=True)])


def transformed(
    served: ServedEncoder, vectors: Sequence[Tensor], function: str
) -> NDArray[np.float32]:
    """The labels' scores [texts, labels] by "softmax" or "sigmoid", or with "none" as they are."""
    logits = logits_of(served, torch.stack(list(vectors)))
    if function != "none":
        logits = logits.sigmoid() if function == "sigmoid" else logits.softmax(-1)
    found: NDArray[np.float32] = logits.cpu().numpy()
    return found


def embed(vectors: Sequence[Tensor], *, normalize: bool = True) -> NDArray[np.float32]:
    """The vectors [texts, width], of length 1 unless they are wanted as they are."""
    stacked = torch.stack(list(vectors))
    found: NDArray[np.float32] = (normalised(stacked) if normalize else stacked).cpu().numpy()
    return found


def tag(
    served: ServedEncoder,
    plain: Sequence[str],
    texts: Sequence[Text],
    hidden: Sequence[Tensor],
    options: InferenceParameters = USUAL,
) -> list[list[dict[str, Any]]]:
    """The entities of each text by its hidden states, as Hugging Face writes them, or the words
    that are in one with the aggregation strategy "none"."""
    names = tag_names(task_of(served, "token_classification").labels)
    return [
        _tagged(served, names, whole, text, states, options)
        for whole, text, states in zip(plain, texts, hidden, strict=True)
    ]


def _tagged(
    served: ServedEncoder,
    names: Sequence[str],
    whole: str,
    text: Text,
    states: Tensor,
    options: InferenceParameters,
) -> list[dict[str, Any]]:
    places = words(whole)
    begins = first_tokens(text.offsets, places)
    seen = begins >= 0
    logits = logits_of(served, states[torch.from_numpy(begins[seen].astype(np.int64))])
    chances = logits.softmax(-1).cpu().numpy()
    tags = [names[place] for place in chances.argmax(1)]
    scores = np.full(len(places), np.nan, dtype=np.float32)
    scores[seen] = chances.max(1)
    key, found = "entity_group", entities_in(spread(tags, begins), places)
    if options.aggregation_strategy == "none":
        key, found = "entity", _in_entities(tags, list(compress(places, seen)))
    ignored = options.ignore_labels or ()
    return [
        {
            key: entity.label,
            "score": _mean_score(entity, places, scores),
            "word": whole[entity.start : entity.end],
            "start": entity.start,
            "end": entity.end,
        }
        for entity in found
        if entity.label not in ignored
    ]


def _in_entities(tags: Sequence[str], places: Sequence[Span]) -> tuple[Entity, ...]:
    """Each word that is in an entity, by its tag."""
    pairs = zip(tags, places, strict=True)
    return tuple(Entity(*place, tag) for tag, place in pairs if tag != OUTSIDE)


def _mean_score(entity: Entity, places: Sequence[Span], scores: NDArray[np.float32]) -> float:
    """Of the words that the model has seen."""
    first = bisect_left(places, (entity.start, 0))
    last = bisect_left(places, (entity.end, 0))
    return float(np.nanmean(scores[first:last]))


async def reading(served: ServedEncoder, work: Callable[[], Result], *, texts: int) -> Result:
    """What the tokenizer makes of them, while the event loop goes on with streams and /health."""
    loop = asyncio.get_running_loop()
    with served.engine.room(texts):
        return await loop.run_in_executor(served.engine.reading, work)


async def computed(
    served: ServedEncoder, texts: Sequence[Text], *, each: bool = False
) -> list[Tensor]:
    """Each text's vector [width], or with `each` its tokens' hidden states [tokens, width].

    Raises Unavailable.
    """
    with served.engine.room(len(texts)):
        futures = served.engine.submit(texts, served.tuned, each=each)
        return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))


def logits_of(served: ServedEncoder, vectors: Tensor) -> Tensor:
    if served.tuned is None or served.tuned.head is None:
        raise AdapterRefused(f"The model {served.name} has no head.")
    weight, bias = served.tuned.head
    return functional.linear(vectors, weight, bias)
