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
from app.errors import Unavailable
from worker.encoding.backbone import hidden_states, linear_layers, pooled
from worker.encoding.tokenizer import Batch, Reader, Text
from worker.inference.adapter_cache import AdapterFiles, AdapterMemory
from worker.inference.encoders.multi_lora import MixedLinear, Mixture
from worker.inference.encoders.tuned_encoder import Tuned, read_tuned

# Tokens of a forward pass, with their filling; a request is never cut by it, only texts grouped.
MAX_TOKENS = 8192
# Rows whose lengths differ by more than this share of the longest are not computed together.
SPREAD = 0.5
# Bytes of tuned models kept in memory: hundreds of adapters of a small encoder.
MEMORY_BUDGET = 2**32
# Texts of all requests that are being read or computed, per encoder: four of the largest requests.
MOST_WAITING = 8192

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One text of a request. The result is its pooled vector [width], or with `each` the hidden
    states of its tokens [tokens, width]; both in float32."""

    text: Text
    tuned: Tuned | None
    each: bool
    result: Future[Tensor] = field(default_factory=Future)


class EncoderEngine:
    """A thread of its own computes; `submit` may be called from any other."""

    def __init__(self, backbone: PreTrainedModel, reader: Reader, *, causal: bool) -> None:
        self.reader = reader
        # One thread: a fast tokenizer that two use at once says that it is borrowed already.
        self.reading = ThreadPoolExecutor(1, "tokenizer")
        self._in_hand = 0
        self._backbone = backbone
        self._causal = causal
        self._mixture = Mixture()
        self._layers = linear_layers(backbone)
        for name, layer in self._layers.items():
            parent, _, last = name.rpartition(".")
            mixed = MixedLinear(name, layer, self._mixture)
            setattr(backbone.get_submodule(parent), last, mixed)
        self._memory: AdapterMemory[Tuned] = AdapterMemory(
            lambda files: self.read(files.folder), budget=MEMORY_BUDGET
        )
        # The memory's order of use is changed by every look-up.
        self._memory_lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="encoder", daemon=True).start()

    def read(self, folder: Path) -> Tuned:
        """Raises AdapterRefused if what is in the folder was not made from this encoder."""
        return read_tuned(folder, self._backbone, self._layers)

    def tuned(self, files: AdapterFiles) -> Tuned:
        """The tuned model, from memory or disk. Raises AdapterRefused, OSError."""
        with self._memory_lock:
            return self._memory.get(files)

    def forget(self, files: AdapterFiles) -> None:
        """Give back the memory of a tuned model; texts that are in hand keep it to their end."""
        with self._memory_lock:
            self._memory.drop(files)

    @contextmanager
    def room(self, texts: int) -> Iterator[None]:
        """Holds the place of so many texts. To be used on the event loop only.

        Raises Unavailable if too many are in hand already; what comes alone is never too much.
        """
        if self._in_hand and self._in_hand + texts > MOST_WAITING:
            raise Unavailable("The engine is currently overloaded, please try again later")
        self._in_hand += texts
        try:
            yield
        finally:
            self._in_hand -= texts

    def submit(
        self, texts: Iterable[Text], tuned: Tuned | None, *, each: bool = False
    ) -> list[Future[Tensor]]:
        """Queue texts; a future for each."""
        items = [Item(text, tuned, each) for text in texts]
        for item in items:
            self._waiting.put(item)
        return [item.result for item in items]

    def _run(self) -> None:
        while True:
            items = [self._waiting.get()]
            while not self._waiting.empty():
                items.append(self._waiting.get())
            for group in grouped(items):
                self._compute(group)

    def _compute(self, group: Sequence[Item]) -> None:
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

    def _forward(self, items: Sequence[Item]) -> list[Tensor]:
        batch = self.reader.batch([item.text for item in items], self._backbone.device)
        hidden = self._hidden(items, batch)
        vectors = pooled(hidden, batch.mask, causal=self._causal)
        return [
            hidden[row, : len(item.text.ids)].float() if item.each else vectors[row]
            for row, item in enumerate(items)
        ]

    def _hidden(self, items: Sequence[Item], batch: Batch) -> Tensor:
        first = items[0].tuned
        if first is not None and first.backbone is not None:
            return hidden_states(first.backbone, batch)
        loras = [None if item.tuned is None else item.tuned.lora for item in items]
        self._mixture.use(loras, self._backbone.device)
        return hidden_states(self._backbone, batch)


def grouped(items: Sequence[Item]) -> Iterable[list[Item]]:
    """Items that go through one forward pass: of one set of layers, and of similar length."""
    own: dict[int, list[Item]] = {}
    for item in items:
        key = 0 if item.tuned is None or item.tuned.backbone is None else id(item.tuned)
        own.setdefault(key, []).append(item)
    for group in own.values():
        yield from _by_length(sorted(group, key=lambda item: -len(item.text.ids)))


def _by_length(items: Sequence[Item]) -> Iterable[list[Item]]:
    part: list[Item] = []
    for item in items:
        longest = len((part or [item])[0].text.ids)
        full = (len(part) + 1) * longest > MAX_TOKENS
        if part and (full or (len(item.text.ids) < longest * SPREAD and len(part) > 3)):
            yield part
            part = []
        part.append(item)
    yield part
