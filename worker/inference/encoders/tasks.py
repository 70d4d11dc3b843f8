"""Inference of fine-tuned encoders: classification, entities, embeddings."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
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
from app.formats.token_classification import EntitySpan
from app.formats.word_boundaries import CharSpan
from app.wire.encoders import InferenceParameters
from worker.encoding.backbone import l2_normalize
from worker.encoding.segmentation import find_units
from worker.encoding.tags import OUTSIDE, bio_tag_names, decode_entities
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import TokenizedText
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.encoders.served_encoder import ServedEncoder

# OpenAI's limit for embeddings, to which clients fit their batches.
MAX_TOKENS_PER_REQUEST = 300_000
# Characters that the tokenizer's thread takes of one project before it turns to another's.
TOKENIZED_AT_ONCE = 16 * 2**10
COST_PER_TEXT = 64

Result = TypeVar("Result")
# A text, or its token ids.
Text = TypeVar("Text", str, list[int], str | list[int])
# A request without parameters.
DEFAULT_PARAMETERS = InferenceParameters()


@dataclass(frozen=True, slots=True)
class Classification:
    """Probabilities [texts, labels], and the indices of each text's labels, most likely first."""

    probabilities: NDArray[np.float32]
    label_indices: list[list[int]]


@dataclass(frozen=True, slots=True)
class ApiStyle:
    """A route's parameter for texts, and its way to request truncation, for error messages."""

    param: str
    truncation_hint: str


OPENAI = ApiStyle("input", "with truncate_prompt_tokens=-1")
HUGGING_FACE = ApiStyle("inputs", "with the parameter truncate")
CHAT = ApiStyle("messages", "by /v1/classify, with truncate_prompt_tokens=-1")


def get_task(served: ServedEncoder, *methods: Method) -> EncoderTask:
    """Return the model's task. Raises InvalidRequest if it is not one of `methods`, if given."""
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
    """Tokenize texts, some at a time, in the tokenizer's thread.

    Raises InvalidRequest for a text that is too long, unless `truncate`, or that has no token, and
    ServiceUnavailable.
    """
    base = served.engine.tokenizer
    length = base.max_length if served.tuned is None else served.tuned.task.max_length
    if max_length is not None and 0 < max_length < length:
        length = max(max_length, 3)
    segmentation = get_task(served).segmentation

    def tokenize_some(some: Sequence[str]) -> list[TokenizedText]:
        return base.with_length(length).for_segmentation(segmentation).tokenize(some)

    result = await map_in_tokenizer_thread(served, tokenize_some, texts)
    for index, text in enumerate(result):
        # A single text needs no index.
        param = f"{style.param}[{index}]" if len(texts) > 1 else style.param
        if not text.is_complete and not truncate:
            raise too_long_error(length, param, style)
        if not len(text.ids):
            raise no_tokens_error(param)
    return result


def check_token_limit(tokens: int, style: ApiStyle = OPENAI) -> None:
    """Raise InvalidRequest if the texts of a request have more tokens than one may have."""
    if tokens > MAX_TOKENS_PER_REQUEST:
        # OpenAI's wording, which clients recognize.
        message = f"Requested {tokens} tokens, max {MAX_TOKENS_PER_REQUEST} tokens per request"
        raise InvalidRequest(message, param=style.param, code="max_tokens_per_request")


def too_long_error(length: int, param: str, style: ApiStyle = OPENAI) -> InvalidRequest:
    return InvalidRequest(
        f"This model reads at most {length} tokens, and {param} is longer. Shorten it, or ask for "
        f"it to be cut {style.truncation_hint}.",
        param=param,
        code="context_length_exceeded",
    )


def no_tokens_error(param: str) -> InvalidRequest:
    """Make the error for a text without any token, not even special ones."""
    return InvalidRequest(
        f"Invalid '{param}': expected a text with something that this model can read.",
        param=param,
        code="invalid_value",
    )


def classify(served: ServedEncoder, vectors: Sequence[Tensor]) -> Classification:
    """Classify texts by their pooled vectors."""
    task = get_task(served, "classification")
    logits = head_logits(served, torch.stack(list(vectors)))
    probabilities = (logits.sigmoid() if task.multi_label else logits.softmax(-1)).cpu().numpy()
    if not task.multi_label:
        return Classification(
            probabilities, [[index] for index in probabilities.argmax(1).tolist()]
        )
    ranking = (-probabilities).argsort(1)
    is_applied = np.take_along_axis(probabilities, ranking, 1) >= 0.5
    return Classification(
        probabilities, [row[mask].tolist() for row, mask in zip(ranking, is_applied, strict=True)]
    )


def label_scores(
    served: ServedEncoder, vectors: Sequence[Tensor], function: str
) -> NDArray[np.float32]:
    """Compute label scores [texts, labels]: logits through "softmax", "sigmoid" or "none"."""
    logits = head_logits(served, torch.stack(list(vectors)))
    if function != "none":
        logits = logits.sigmoid() if function == "sigmoid" else logits.softmax(-1)
    result: NDArray[np.float32] = logits.cpu().numpy()
    return result


def embed(vectors: Sequence[Tensor], *, normalize: bool = True) -> NDArray[np.float32]:
    """Stack vectors to embeddings [texts, hidden size], L2-normalized by default."""
    stacked = torch.stack(list(vectors))
    result: NDArray[np.float32] = (l2_normalize(stacked) if normalize else stacked).cpu().numpy()
    return result


def tag_entities(
    served: ServedEncoder,
    inputs: Sequence[str],
    texts: Sequence[TokenizedText],
    hidden: Sequence[Tensor],
    options: InferenceParameters = DEFAULT_PARAMETERS,
) -> list[list[dict[str, Any]]]:
    """Find the entities of each text, in Hugging Face's format.

    With the aggregation strategy "none" each unit of an entity is listed separately.
    """
    return [
        _tag_text(served, raw_text, text, hidden, options)
        for raw_text, text, hidden in zip(inputs, texts, hidden, strict=True)
    ]


def _tag_text(
    served: ServedEncoder,
    raw_text: str,
    text: TokenizedText,
    hidden: Tensor,
    options: InferenceParameters,
) -> list[dict[str, Any]]:
    task = get_task(served, "token_classification")
    tag_names = bio_tag_names(task.labels)
    units = find_units(raw_text, text.offsets, task.segmentation)
    has_token = units.tokens >= 0
    logits = head_logits(served, hidden[torch.from_numpy(units.tokens[has_token].astype(np.int64))])
    probabilities = logits.softmax(-1).cpu().numpy()
    tags = [tag_names[index] for index in probabilities.argmax(1)]
    scores = np.full(len(units.spans), np.nan, dtype=np.float32)
    scores[has_token] = probabilities.max(1)
    key, result = "entity_group", decode_entities(tags, units)
    if options.aggregation_strategy == "none":
        key, result = "entity", _tagged_units(tags, list(compress(units.spans, has_token)))
    ignored = options.ignore_labels or ()
    return [
        {
            key: entity.label,
            "score": _mean_score(entity, units.spans, scores),
            "word": raw_text[entity.start : entity.end],
            "start": entity.start,
            "end": entity.end,
        }
        for entity in result
        if entity.label not in ignored
    ]


def _tagged_units(tags: Sequence[str], spans: Sequence[CharSpan]) -> tuple[EntitySpan, ...]:
    """List each unit that is part of an entity, labelled with its own tag."""
    pairs = zip(tags, spans, strict=True)
    return tuple(EntitySpan(*span, tag) for tag, span in pairs if tag != OUTSIDE)


def _mean_score(
    entity: EntitySpan, spans: Sequence[CharSpan], scores: NDArray[np.float32]
) -> float:
    """Mean score of the entity's units, without those that have no token."""
    first = bisect_left(spans, (entity.start, 0))
    last = bisect_left(spans, (entity.end, 0))
    return float(np.nanmean(scores[first:last]))


async def map_in_tokenizer_thread(
    served: ServedEncoder, function: Callable[[Sequence[Text]], list[Result]], texts: Sequence[Text]
) -> list[Result]:
    """Call `function` with all texts, some at a time, in turn with other projects' texts.

    It must return a result per text that does not depend on the others. Raises ServiceUnavailable
    and RateLimited.
    """
    engine, results = served.engine, []
    with engine.reserve(len(texts), served.project):
        for some in _split_by_size(texts):
            work = partial(function, some)
            results += await engine.tokenizer_thread.run(
                served.project, sum(map(_size, some)), work
            )
    return results


def _split_by_size(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    """Split texts into runs of about TOKENIZED_AT_ONCE characters; one text is never split."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        if index > start and size + _size(text) > TOKENIZED_AT_ONCE:
            yield texts[start:index]
            start, size = index, 0
        size += _size(text)
    if texts:
        yield texts[start:]


def _size(text: Text) -> int:
    """Characters, or token ids, plus something for the text itself."""
    return len(text) + COST_PER_TEXT


async def forward(
    served: ServedEncoder,
    texts: Sequence[TokenizedText],
    *,
    per_token: bool = False,
    style: ApiStyle = OPENAI,
) -> list[Tensor]:
    """Compute each text's vector [hidden size], or with `per_token` hidden states [tokens, size].

    Raises ServiceUnavailable and RateLimited, and InvalidRequest for too many tokens.
    """
    check_token_limit(sum(len(text.ids) for text in texts), style)
    with served.engine.reserve(len(texts), served.project):
        futures = served.engine.submit(
            texts, served.tuned, per_token=per_token, project=served.project
        )
        return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))


def head_logits(served: ServedEncoder, vectors: Tensor) -> Tensor:
    if served.tuned is None or served.tuned.head is None:
        raise InvalidAdapter(f"The model {served.name} has no head.")
    weight, bias = served.tuned.head
    return functional.linear(vectors, weight, bias)
