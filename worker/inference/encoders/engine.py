"""Dynamic batching of one encoder and all models fine-tuned from it."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from app import logs
from app.errors import ServiceUnavailable
from worker.encoding.backbone import compute_hidden_states, find_linear_layers, pool
from worker.encoding.tokenizer import EncoderTokenizer, PaddedBatch, TokenizedText
from worker.inference.adapter_cache import AdapterFiles, AdapterMemoryCache
from worker.inference.encoders.multi_lora import AdapterBatch, MultiLoraLinear
from worker.inference.encoders.tuned_encoder import TunedEncoder, load_tuned_encoder

# Tokens of a forward pass, padding included. It limits batches, never a single text.
MAX_BATCH_TOKENS = 8192
# Texts shorter than this share of a batch's longest go into another batch, to limit padding.
MIN_LENGTH_RATIO = 0.5
# Fine-tuned models in memory: hundreds of adapters of a small encoder.
MEMORY_BUDGET_BYTES = 2**32
# Texts of all requests in tokenization or in the queue, per encoder: four of the largest requests.
MAX_PENDING_TEXTS = 8192

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PendingText:
    """One text of a request and the future of its result in float32.

    The result is the pooled vector [hidden size], or with `per_token` the hidden states
    [tokens, hidden size].
    """

    text: TokenizedText
    tuned: TunedEncoder | None
    per_token: bool
    result: Future[Tensor] = field(default_factory=Future)


class EncoderEngine:
    """Computes batches of texts in a thread of its own; `submit` is thread-safe."""

    def __init__(
        self, backbone: PreTrainedModel, tokenizer: EncoderTokenizer, *, causal: bool
    ) -> None:
        self.tokenizer = tokenizer
        # A single thread: concurrent use of a fast tokenizer raises "Already borrowed".
        self.tokenizer_thread = ThreadPoolExecutor(1, "tokenizer")
        self._num_pending = 0
        self._backbone = backbone
        self._causal = causal
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
        self._queue: queue.SimpleQueue[PendingText] = queue.SimpleQueue()
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
    def reserve(self, num_texts: int) -> Iterator[None]:
        """Reserve capacity for texts. Call it on the event loop only.

        Raises ServiceUnavailable if too many are pending; the only pending request always fits.
        """
        if self._num_pending and self._num_pending + num_texts > MAX_PENDING_TEXTS:
            raise ServiceUnavailable("The engine is currently overloaded, please try again later")
        self._num_pending += num_texts
        try:
            yield
        finally:
            self._num_pending -= num_texts

    def submit(
        self, texts: Iterable[TokenizedText], tuned: TunedEncoder | None, *, per_token: bool = False
    ) -> list[Future[Tensor]]:
        """Queue texts; returns a future for each."""
        items = [PendingText(text, tuned, per_token) for text in texts]
        for item in items:
            self._queue.put(item)
        return [item.result for item in items]

    def _run(self) -> None:
        while True:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            for batch in make_batches(items):
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
        vectors = pool(hidden, batch.mask, causal=self._causal)
        return [
            hidden[row, : len(item.text.ids)].float() if item.per_token else vectors[row]
            for row, item in enumerate(items)
        ]

    def _hidden_states(self, items: Sequence[PendingText], batch: PaddedBatch) -> Tensor:
        tuned = items[0].tuned
        if tuned is not None and tuned.backbone is not None:
            return compute_hidden_states(tuned.backbone, batch)
        loras = [None if item.tuned is None else item.tuned.lora for item in items]
        self._adapter_batch.assign(loras, self._backbone.device)
        return compute_hidden_states(self._backbone, batch)


def make_batches(items: Sequence[PendingText]) -> Iterable[list[PendingText]]:
    """Group texts into forward passes: same layers and similar lengths."""
    groups: dict[int, list[PendingText]] = {}
    for item in items:
        key = 0 if item.tuned is None or item.tuned.backbone is None else id(item.tuned)
        groups.setdefault(key, []).append(item)
    for batch in groups.values():
        yield from _split_by_length(sorted(batch, key=lambda item: -len(item.text.ids)))


def _split_by_length(items: Sequence[PendingText]) -> Iterable[list[PendingText]]:
    batch: list[PendingText] = []
    for item in items:
        max_length = len((batch or [item])[0].text.ids)
        is_full = (len(batch) + 1) * max_length > MAX_BATCH_TOKENS
        if batch and (
            is_full or (len(item.text.ids) < max_length * MIN_LENGTH_RATIO and len(batch) > 3)
        ):
            yield batch
            batch = []
        batch.append(item)
    yield batch
