"""One encoder and all models tuned from it: whatever waits is computed together."""

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

# Tokens of a forward pass, with their filling; a request is never cut by it, only texts grouped.
MAX_BATCH_TOKENS = 8192
# Rows whose lengths differ by more than this share of the longest are not computed together.
MIN_LENGTH_RATIO = 0.5
# Bytes of tuned models kept in memory: hundreds of adapters of a small encoder.
MEMORY_BUDGET_BYTES = 2**32
# Texts of all requests that are being read or computed, per encoder: four of the largest requests.
MAX_PENDING_TEXTS = 8192

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PendingText:
    """One text of a request. The result is its pooled vector [width], or with `each` the hidden
    states of its tokens [tokens, width]; both in float32."""

    text: TokenizedText
    tuned: TunedEncoder | None
    per_token: bool
    result: Future[Tensor] = field(default_factory=Future)


class EncoderEngine:
    """A thread of its own computes; `submit` may be called from any other."""

    def __init__(
        self, backbone: PreTrainedModel, tokenizer: EncoderTokenizer, *, causal: bool
    ) -> None:
        self.tokenizer = tokenizer
        # One thread: a fast tokenizer that two use at once says that it is borrowed already.
        self.tokenizer_thread = ThreadPoolExecutor(1, "tokenizer")
        self._num_pending = 0
        self._backbone = backbone
        self._causal = causal
        self._adapter_batch = AdapterBatch()
        self._layers = find_linear_layers(backbone)
        for name, layer in self._layers.items():
            parent, _, last = name.rpartition(".")
            mixed = MultiLoraLinear(name, layer, self._adapter_batch)
            setattr(backbone.get_submodule(parent), last, mixed)
        self._memory: AdapterMemoryCache[TunedEncoder] = AdapterMemoryCache(
            lambda files: self.load_tuned(files.folder), max_bytes=MEMORY_BUDGET_BYTES
        )
        # The memory's order of use is changed by every look-up.
        self._memory_lock = threading.Lock()
        self._queue: queue.SimpleQueue[PendingText] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="encoder", daemon=True).start()

    def load_tuned(self, folder: Path) -> TunedEncoder:
        """Raises AdapterRefused if what is in the folder was not made from this encoder."""
        return load_tuned_encoder(folder, self._backbone, self._layers)

    def get_tuned(self, files: AdapterFiles) -> TunedEncoder:
        """The tuned model, from memory or disk. Raises AdapterRefused, OSError."""
        with self._memory_lock:
            return self._memory.get(files)

    def evict(self, files: AdapterFiles) -> None:
        """Give back the memory of a tuned model; texts that are in hand keep it to their end."""
        with self._memory_lock:
            self._memory.discard(files)

    @contextmanager
    def reserve(self, texts: int) -> Iterator[None]:
        """Holds the place of so many texts. To be used on the event loop only.

        Raises Unavailable if too many are in hand already; what comes alone is never too much.
        """
        if self._num_pending and self._num_pending + texts > MAX_PENDING_TEXTS:
            raise ServiceUnavailable("The engine is currently overloaded, please try again later")
        self._num_pending += texts
        try:
            yield
        finally:
            self._num_pending -= texts

    def submit(
        self, texts: Iterable[TokenizedText], tuned: TunedEncoder | None, *, per_token: bool = False
    ) -> list[Future[Tensor]]:
        """Queue texts; a future for each."""
        items = [PendingText(text, tuned, per_token) for text in texts]
        for item in items:
            self._queue.put(item)
        return [item.result for item in items]

    def _run(self) -> None:
        while True:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            for group in make_batches(items):
                self._run_batch(group)

    def _run_batch(self, group: Sequence[PendingText]) -> None:
        # One whose asker has gone would refuse its result, and end this thread. Asked as late as
        # this, because many groups may have been computed since the item was queued.
        items = [item for item in group if item.result.set_running_or_notify_cancel()]
        if not items:
            return
        try:
            with torch.inference_mode():
                results = self._forward(items)
        # Whatever it is, those who wait must hear of it, and the next batch may be well.
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
        first = items[0].tuned
        if first is not None and first.backbone is not None:
            return compute_hidden_states(first.backbone, batch)
        loras = [None if item.tuned is None else item.tuned.lora for item in items]
        self._adapter_batch.assign(loras, self._backbone.device)
        return compute_hidden_states(self._backbone, batch)


def make_batches(items: Sequence[PendingText]) -> Iterable[list[PendingText]]:
    """Items that go through one forward pass: of one set of layers, and of similar length."""
    own: dict[int, list[PendingText]] = {}
    for item in items:
        key = 0 if item.tuned is None or item.tuned.backbone is None else id(item.tuned)
        own.setdefault(key, []).append(item)
    for group in own.values():
        yield from _split_by_length(sorted(group, key=lambda item: -len(item.text.ids)))


def _split_by_length(items: Sequence[PendingText]) -> Iterable[list[PendingText]]:
    part: list[PendingText] = []
    for item in items:
        longest = len((part or [item])[0].text.ids)
        full = (len(part) + 1) * longest > MAX_BATCH_TOKENS
        if part and (full or (len(item.text.ids) < longest * MIN_LENGTH_RATIO and len(part) > 3)):
            yield part
            part = []
        part.append(item)
    yield part
