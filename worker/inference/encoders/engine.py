"""Dynamic batching of one encoder and all models fine-tuned from it."""

import queue
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from app import logs
from app.errors import RateLimited, ServiceUnavailable
from worker.encoding.backbone import compute_hidden_states, find_linear_layers
from worker.encoding.pooling import Pooling, pool
from worker.encoding.tokenizer import EncoderTokenizer, PaddedBatch, TokenizedText
from worker.inference.adapter_memory import AdapterFiles, AdapterMemoryCache
from worker.inference.deficit_round_robin import DeficitRoundRobin
from worker.inference.encoders.multi_lora import AdapterBatch, MultiLoraLinear
from worker.inference.encoders.tuned_encoder import TunedEncoder, load_tuned_encoder
from worker.inference.fair_executor import FairExecutor
from worker.inference.shares import is_of_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Tokens of a forward pass, padding included. It limits batches, never a single text, and how long
# another project's texts wait. On a CPU, passes of 170 to 1,000 tokens of a small encoder take the
# same time per token; a GPU needs larger ones.
MAX_BATCH_TOKENS = {"cpu": 192, "cuda": 8192}
# Texts shorter than this share of a batch's longest go into another batch, to limit padding.
MIN_LENGTH_RATIO = 0.5
# Fine-tuned models in memory: hundreds of adapters of a small encoder.
MEMORY_BUDGET_BYTES = 2**32
# What a text of a batch costs in the units of a live one: a batch gets a quarter of a share.
BATCH_COST = 4
# Texts of one project in tokenization or in the queue, per encoder: four of the largest requests.
MAX_PENDING_TEXTS_PER_PROJECT = 8192
# Texts of all projects.
MAX_PENDING_TEXTS = 32768

log = logs.get_logger(__name__)


class TooManyPendingTexts(RateLimited):
    """Too many texts of this project wait for the model. Retry when some have been computed."""

    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True, eq=False)
class PendingText:
    """One text of a request and the future of its result in float32.

    The result is the pooled vector [hidden size], or with `per_token` the hidden states
    [tokens, hidden size].
    """

    text: TokenizedText
    tuned: TunedEncoder | None
    per_token: bool
    project: str = ""
    result: Future[Tensor] = field(default_factory=Future)


class EncoderEngine:
    """Computes batches of texts in a thread of its own; `submit` is thread-safe."""

    def __init__(
        self, backbone: "PreTrainedModel", tokenizer: EncoderTokenizer, *, pooling: Pooling
    ) -> None:
        self.tokenizer = tokenizer
        # A single thread: concurrent use of a fast tokenizer raises "Already borrowed".
        self.tokenizer_thread = FairExecutor(1, "tokenizer")
        self._num_pending: Counter[str] = Counter()
        self._backbone = backbone
        self._pooling = pooling
        self._adapter_batch = AdapterBatch()
        self._layers = find_linear_layers(backbone)
        for name, layer in self._layers.items():
            parent, _, last = name.rpartition(".")
            multi_lora = MultiLoraLinear(name, layer, self._adapter_batch)
            setattr(backbone.get_submodule(parent), last, multi_lora)
        self._memory: AdapterMemoryCache[TunedEncoder] = AdapterMemoryCache(
            lambda files: self.load_tuned(files.folder), max_bytes=MEMORY_BUDGET_BYTES
        )
        # Every lookup changes the cache's LRU order.
        self._memory_lock = threading.Lock()
        self._queue: queue.SimpleQueue[PendingText | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="encoder", daemon=True).start()

    def load_tuned(self, folder: Path) -> TunedEncoder:
        """Load a fine-tuned model. Raises InvalidAdapter if it has another base model."""
        return load_tuned_encoder(folder, self._backbone, self._layers)

    def get_tuned(self, files: AdapterFiles) -> TunedEncoder:
        """Return a fine-tuned model, from memory or disk. Raises InvalidAdapter, OSError."""
        with self._memory_lock:
            return self._memory.get(files)

    def evict(self, files: AdapterFiles) -> None:
        """Drop a fine-tuned model from memory; queued texts still use it."""
        with self._memory_lock:
            self._memory.discard(files)

    @contextmanager
    def reserve(self, num_texts: int, project: str = "") -> Iterator[None]:
        """Reserve capacity for a project's texts. Call it on the event loop only.

        The only pending request always fits. Raises TooManyPendingTexts, or ServiceUnavailable if
        too many of all projects are pending.
        """
        of_project, of_all = self._num_pending[project], self._num_pending.total()
        if of_project and of_project + num_texts > MAX_PENDING_TEXTS_PER_PROJECT:
            raise TooManyPendingTexts
        if of_all and of_all + num_texts > MAX_PENDING_TEXTS:
            raise ServiceUnavailable("The engine is currently overloaded, please try again later")
        self._num_pending[project] += num_texts
        try:
            yield
        finally:
            self._num_pending[project] -= num_texts
            if not self._num_pending[project]:
                del self._num_pending[project]

    def submit(
        self,
        texts: Iterable[TokenizedText],
        tuned: TunedEncoder | None,
        *,
        per_token: bool = False,
        project: str = "",
    ) -> list[Future[Tensor]]:
        """Queue a project's texts; returns a future for each."""
        items = [PendingText(text, tuned, per_token, project) for text in texts]
        for item in items:
            self._queue.put(item)
        return [item.result for item in items]

    def close(self) -> None:
        """End the thread, so that the model can be freed; texts that wait are not computed."""
        self._queue.put(None)

    def _run(self) -> None:
        """Run slices of the pending texts, each with texts of all projects that wait."""
        slices = TextSlices(MAX_BATCH_TOKENS[self._backbone.device.type])
        while True:
            while not len(slices) or not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    return
                slices.add(item)
            for batch in slices.next_batches():
                self._run_batch(batch)

    def _run_batch(self, batch: Sequence[PendingText]) -> None:
        # Setting the result of a cancelled future would raise and end this thread. Checked only
        # now, since many batches may have run since the text was queued.
        items = [item for item in batch if item.result.set_running_or_notify_cancel()]
        if not items:
            return
        try:
            with torch.inference_mode():
                results = self._forward(items)
        # Any error goes to the waiting requests; the next batch may succeed.
        except Exception as error:
            log.error("encoder.failed", exc_info=error)
            for item in items:
                item.result.set_exception(error)
            return
        for item, result in zip(items, results, strict=True):
            item.result.set_result(result)

    def _forward(self, items: Sequence[PendingText]) -> list[Tensor]:
        batch = self.tokenizer.pad([item.text for item in items], self._backbone.device)
        hidden = self._hidden_states(items, batch)
        vectors = self._pool(items, hidden, batch)
        return [
            hidden[row, : len(item.text.ids)].float() if item.per_token else vectors[row]
            for row, item in enumerate(items)
        ]

    def _pool(
        self, items: Sequence[PendingText], hidden: Tensor, batch: PaddedBatch
    ) -> Sequence[Tensor]:
        """Pool each text as its model was trained: earlier versions always took the mean."""
        by_row = [item.tuned.task.pooling if item.tuned else self._pooling for item in items]
        pooled = {pooling: pool(hidden, batch.mask, pooling) for pooling in set(by_row)}
        return [pooled[pooling][row] for row, pooling in enumerate(by_row)]

    def _hidden_states(self, items: Sequence[PendingText], batch: PaddedBatch) -> Tensor:
        tuned = items[0].tuned
        if tuned is not None and tuned.backbone is not None:
            return compute_hidden_states(tuned.backbone, batch)
        loras = [None if item.tuned is None else item.tuned.lora for item in items]
        self._adapter_batch.assign(loras, self._backbone.device)
        return compute_hidden_states(self._backbone, batch)


class TextSlices:
    """Pending texts in slices of about `max_tokens`, drawn by deficit round robin over projects.

    Texts of a project are sorted by length as they are drawn, so that batches have little padding.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._new: dict[str, list[PendingText]] = {}
        self._batches: DeficitRoundRobin[list[PendingText]] = DeficitRoundRobin(max_tokens)

    def __len__(self) -> int:
        return len(self._batches) + len(self._new)

    def add(self, item: PendingText) -> None:
        self._new.setdefault(item.project, []).append(item)

    def next_batches(self) -> Iterable[list[PendingText]]:
        """Return the batches of the next slice: one full batch, or the small ones of several."""
        for project, items in self._new.items():
            for batch in make_batches(items, self._max_tokens):
                cost = _padded_tokens(batch) * (BATCH_COST if is_of_batches(project) else 1)
                self._batches.push(project, cost, batch)
        self._new.clear()
        merged = self._batches.pop()
        while len(self._batches):
            following = self._batches.peek()
            tokens = sum(len(item.text.ids) for item in (*merged, *following))
            if tokens > self._max_tokens:
                break
            merged = [*merged, *self._batches.pop()]
        return make_batches(merged, self._max_tokens)


def _padded_tokens(batch: Sequence[PendingText]) -> int:
    return len(batch) * max(len(item.text.ids) for item in batch)


def make_batches(items: Sequence[PendingText], max_tokens: int) -> Iterable[list[PendingText]]:
    """Group texts into forward passes: same layers and similar lengths."""
    groups: dict[int, list[PendingText]] = {}
    for item in items:
        key = 0 if item.tuned is None or item.tuned.backbone is None else id(item.tuned)
        groups.setdefault(key, []).append(item)
    for batch in groups.values():
        yield from _split_by_length(sorted(batch, key=lambda item: -len(item.text.ids)), max_tokens)


def _split_by_length(items: Sequence[PendingText], max_tokens: int) -> Iterable[list[PendingText]]:
    batch: list[PendingText] = []
    for item in items:
        max_length = len((batch or [item])[0].text.ids)
        is_full = (len(batch) + 1) * max_length > max_tokens
        if batch and (
            is_full or (len(item.text.ids) < max_length * MIN_LENGTH_RATIO and len(batch) > 3)
        ):
            yield batch
            batch = []
        batch.append(item)
    yield batch
