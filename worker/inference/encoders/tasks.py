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
from app.formats.token_classification import EntitySpan, entities_from_tags
from app.formats.word_boundaries import CharSpan, find_words
from app.wire.encoders import InferenceParameters
from worker.encoding.backbone import l2_normalize
from worker.encoding.tags import (
    OUTSIDE,
    bio_tag_names,
    expand_word_tags,
    first_tokens,
)
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.encoders.registry import ServedEncoder

Result = TypeVar("Result")
# What a request asks for that has no parameters.
DEFAULT_PARAMETERS = InferenceParameters()


@dataclass(frozen=True, slots=True)
class Classification:
    """`probabilities` [texts, labels], and the places of the labels that apply to each text, the
    likeliest first."""

    probabilities: NDArray[np.float32]
    label_indices: list[list[int]]


@dataclass(frozen=True, slots=True)
class ApiStyle:
    """What a route calls its texts, and how it is asked to cut one."""

    param: str
    truncation_hint: str


OPENAI = ApiStyle("input", "with truncate_prompt_tokens=-1")
HUGGING_FACE = ApiStyle("inputs", "with the parameter truncate")
CHAT = ApiStyle("messages", "by /v1/classify, with truncate_prompt_tokens=-1")


def get_task(served: ServedEncoder, *methods: Method) -> EncoderTask:
    """The model's task. Raises InvalidRequest if it is none of `methods`, if any are given."""
    task = EncoderTask(method="embedding") if served.tuned is None else served.tuned.task
    if methods and task.method not in methods:
        kind = "a base model" if served.tuned is None else f"a model for {task.method}"
        raise InvalidRequest(
            f"The model `{served.name}` is {kind}; this needs one for {' or '.join(methods)}.",
            param="model",
        )
    return task


async def tokenize(
    served: ServedEncoder,
    texts: Sequence[str],
    *,
    truncate: bool,
    max_length: int | None = None,
    style: ApiStyle = OPENAI,
) -> list[TokenizedText]:
    """The texts in tokens.

    Raises InvalidRequest for one that is too long, unless it may be cut, or has no token, and
    Unavailable.
    """
    reader = served.engine.tokenizer
    length = reader.max_length if served.tuned is None else served.tuned.task.max_length
    if max_length is not None and 0 < max_length < length:
        length = max(max_length, 3)
    work = partial(EncoderTokenizer(reader.hf_tokenizer, length).tokenize, texts)
    found = await in_tokenizer_thread(served, work, num_texts=len(texts))
    for number, text in enumerate(found):
        # A text alone needs no number to be found by.
        param = f"{style.param}[{number}]" if len(texts) > 1 else style.param
        if not text.is_complete and not truncate:
            raise too_long_error(length, param, style)
        if not len(text.ids):
            raise no_tokens_error(param)
    return found


def too_long_error(length: int, param: str, route: ApiStyle = OPENAI) -> InvalidRequest:
    return InvalidRequest(
        f"This model reads at most {length} tokens, and {param} is longer. Shorten it, or ask for "
        f"it to be cut {route.truncation_hint}.",
        param=param,
        code="context_length_exceeded",
    )


def no_tokens_error(param: str) -> InvalidRequest:
    """Nothing would be computed of it: not even special tokens stand around it."""
    return InvalidRequest(
        f"Invalid '{param}': expected a text with something that this model can read.",
        param=param,
        code="invalid_value",
    )


def classify(served: ServedEncoder, vectors: Sequence[Tensor]) -> Classification:
    """Which labels texts have, by their vectors."""
    task = get_task(served, "classification")
    logits = head_logits(served, torch.stack(list(vectors)))
    chances = (logits.sigmoid() if task.multi_label else logits.softmax(-1)).cpu().numpy()
    if not task.multi_label:
        return Classification(chances, [[place] for place in chances.argmax(1).tolist()])
    order = (-chances).argsort(1)
    applies = np.take_along_axis(chances, order, 1) >= 0.5
    return Classification(
        chances, [row[yes].tolist() for row, yes in zip(order, applies, strict=True)]
    )


def label_scores(
    served: ServedEncoder, vectors: Sequence[Tensor], function: str
) -> NDArray[np.float32]:
    """The labels' scores [texts, labels] by "softmax" or "sigmoid", or with "none" as they are."""
    logits = head_logits(served, torch.stack(list(vectors)))
    if function != "none":
        logits = logits.sigmoid() if function == "sigmoid" else logits.softmax(-1)
    found: NDArray[np.float32] = logits.cpu().numpy()
    return found


def embed(vectors: Sequence[Tensor], *, normalize: bool = True) -> NDArray[np.float32]:
    """The vectors [texts, width], of length 1 unless they are wanted as they are."""
    stacked = torch.stack(list(vectors))
    found: NDArray[np.float32] = (l2_normalize(stacked) if normalize else stacked).cpu().numpy()
    return found


def tag_entities(
    served: ServedEncoder,
    plain: Sequence[str],
    texts: Sequence[TokenizedText],
    hidden: Sequence[Tensor],
    options: InferenceParameters = DEFAULT_PARAMETERS,
) -> list[list[dict[str, Any]]]:
    """The entities of each text by its hidden states, as Hugging Face writes them, or the words
    that are in one with the aggregation strategy "none"."""
    names = bio_tag_names(get_task(served, "token_classification").labels)
    return [
        _tag_text(served, names, whole, text, states, options)
        for whole, text, states in zip(plain, texts, hidden, strict=True)
    ]


def _tag_text(
    served: ServedEncoder,
    names: Sequence[str],
    whole: str,
    text: TokenizedText,
    states: Tensor,
    options: InferenceParameters,
) -> list[dict[str, Any]]:
    places = find_words(whole)
    begins = first_tokens(text.offsets, places)
    seen = begins >= 0
    logits = head_logits(served, states[torch.from_numpy(begins[seen].astype(np.int64))])
    chances = logits.softmax(-1).cpu().numpy()
    tags = [names[place] for place in chances.argmax(1)]
    scores = np.full(len(places), np.nan, dtype=np.float32)
    scores[seen] = chances.max(1)
    key, found = "entity_group", entities_from_tags(expand_word_tags(tags, begins), places)
    if options.aggregation_strategy == "none":
        key, found = "entity", _tagged_words(tags, list(compress(places, seen)))
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


def _tagged_words(tags: Sequence[str], places: Sequence[CharSpan]) -> tuple[EntitySpan, ...]:
    """Each word that is in an entity, by its tag."""
    pairs = zip(tags, places, strict=True)
    return tuple(EntitySpan(*place, tag) for tag, place in pairs if tag != OUTSIDE)


def _mean_score(
    entity: EntitySpan, places: Sequence[CharSpan], scores: NDArray[np.float32]
) -> float:
    """Of the words that the model has seen."""
    first = bisect_left(places, (entity.start, 0))
    last = bisect_left(places, (entity.end, 0))
    return float(np.nanmean(scores[first:last]))


async def in_tokenizer_thread(
    served: ServedEncoder, work: Callable[[], Result], *, num_texts: int
) -> Result:
    """What the tokenizer makes of them, while the event loop goes on with streams and /health."""
    loop = asyncio.get_running_loop()
    with served.engine.reserve(num_texts):
        return await loop.run_in_executor(served.engine.tokenizer_thread, work)


async def forward(
    served: ServedEncoder, texts: Sequence[TokenizedText], *, per_token: bool = False
) -> list[Tensor]:
    """Each text's vector [width], or with `each` its tokens' hidden states [tokens, width].

    Raises Unavailable.
    """
    with served.engine.reserve(len(texts)):
        futures = served.engine.submit(texts, served.tuned, per_token=per_token)
        return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))


def head_logits(served: ServedEncoder, vectors: Tensor) -> Tensor:
    if served.tuned is None or served.tuned.head is None:
        raise InvalidAdapter(f"The model {served.name} has no head.")
    weight, bias = served.tuned.head
    return functional.linear(vectors, weight, bias)
