"""Fallback decoder for any causal model of transformers: one sequence at a time, slow."""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from worker.inference.adapter_format import linear_sizes, read_lora
from worker.inference.adapter_memory import AdapterFiles, AdapterMemoryCache
from worker.inference.decoder import PrefillOutput, PromptChunk
from worker.inference.lora import LoraWeights
from worker.inference.prefix_cache import PrefixKeys

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Each slot costs a forward pass of its own; more slots would only share the same throughput.
NUM_SLOTS = 4


@dataclass(slots=True)
class _Slot:
    """One sequence: transformers' KV cache, its adapter, and the output of its last tokens."""

    past: Any = None
    adapter: LoraWeights | None = None
    length: int = 0
    logits: Tensor | None = None
    chunk_output: PrefillOutput | None = None


class TransformersDecoder:
    """A `Decoder` for architectures that `LlamaDecoder` does not support."""

    def __init__(self, model: "PreTrainedModel", *, context_length: int) -> None:
        self.takes_drafts = False
        self.num_slots = NUM_SLOTS
        self.context_length = context_length
        # transformers' cache grows with its sequence.
        self.num_tokens = (NUM_SLOTS + 1) * context_length
        self._model = model
        self._adapters = AdapterMemoryCache(self._load_adapter)
        self._slots = [_Slot() for _ in range(NUM_SLOTS + 1)]
        self._active_adapter: LoraWeights | None = None
        self._linear_sizes = linear_sizes(model)
        for path in self._linear_sizes:
            model.get_submodule(path).register_forward_hook(partial(self._add_lora, path))

    def check_adapter(self, files: AdapterFiles) -> None:
        self._load_adapter(files)

    def preload_adapter(self, files: AdapterFiles) -> Callable[[], None] | None:
        return None if self._adapters.is_loaded(files) else partial(self._adapters.preload, files)

    def evict(self, adapter: AdapterFiles, used_slots: Collection[int]) -> bool:
        self._adapters.discard(adapter)
        self._active_adapter = None
        for slot in set(range(len(self._slots))) - set(used_slots):
            self._slots[slot] = _Slot()
        # Slots in use drop their weights when they are reused.
        return True

    def begin_prefill(self, slot: int, adapter: AdapterFiles | None) -> None:
        self._slots[slot] = _Slot(adapter=self._adapters.get(adapter) if adapter else None)

    def load_prefix(self, slot: int, keys: PrefixKeys, start: int, end: int) -> int:
        return 0

    def save_prefix(self, slot: int, keys: PrefixKeys, start: int, end: int) -> None: ...

    def prefill(self, chunks: Sequence[PromptChunk]) -> list[PrefillOutput]:
        return [self._prefill_chunk(chunk) for chunk in chunks]

    def _prefill_chunk(self, chunk: PromptChunk) -> PrefillOutput:
        slot = self._slots[chunk.slot]
        # A pass that failed at another slot is retried; this cache must not grow twice.
        if slot.length > chunk.start and slot.chunk_output is not None:
            return slot.chunk_output
        output = self._forward(
            slot, chunk.ids, num_logits=chunk.num_logits, output_hidden_states=True
        )
        logits = output.logits[0, len(output.logits[0]) - chunk.num_logits :]
        slot.chunk_output = PrefillOutput(output.hidden_states[-1][0], logits)
        return slot.chunk_output

    def copy_slot(self, source: int, target: int, length: int) -> None:
        self._slots[target] = copy.copy(self._slots[source])
        self._slots[target].past = copy.deepcopy(self._slots[source].past)

    def move_slot(self, source: int, target: int, length: int) -> None:
        self._slots[target], self._slots[source] = self._slots[source], _Slot()

    def release_slot(self, slot: int) -> None:
        self._slots[slot] = _Slot()

    def swap_out(self, slot: int, length: int) -> object:
        swapped, self._slots[slot] = self._slots[slot], _Slot()
        return swapped

    def swap_in(self, slot: int, swapped_kv: object) -> None:
        assert isinstance(swapped_kv, _Slot)
        self._slots[slot] = swapped_kv

    def decode(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        steps = zip(slots, tokens, positions, strict=True)
        return torch.cat(
            [self._decode_slot(self._slots[slot], token, length) for slot, token, length in steps]
        )

    def _decode_slot(self, slot: _Slot, token: int, position: int) -> Tensor:
        # A step that failed at another slot is retried; this cache must not grow twice.
        if slot.length > position and slot.logits is not None:
            return slot.logits
        slot.chunk_output = None
        slot.logits = self._forward(slot, [token], num_logits=1).logits[:, -1]
        return slot.logits

    def _forward(self, slot: _Slot, ids: Sequence[int], *, num_logits: int, **options: Any) -> Any:
        """Feed further tokens to a slot; return transformers' output."""
        self._active_adapter = slot.adapter
        output = self._model(
            torch.tensor([ids], device=self._model.device),
            past_key_values=slot.past,
            use_cache=True,
            # 0 would mean all.
            logits_to_keep=max(num_logits, 1),
            **options,
        )
        slot.past = output.past_key_values
        slot.length += len(ids)
        return output

    def _add_lora(
        self, path: str, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        pair = self._active_adapter.pairs.get(path) if self._active_adapter else None
        if pair is None:
            return output
        return output + linear(inputs[0], pair.a) @ pair.b

    def _load_adapter(self, files: AdapterFiles) -> LoraWeights:
        pairs = read_lora(files.folder, self._linear_sizes)
        like = next(self._model.parameters())
        return LoraWeights({path: pair.to(like) for path, pair in pairs.items()})
