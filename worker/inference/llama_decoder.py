"""Batched forward pass of Llama-shaped models: many sequences and LoRA adapters at once.

Supports models built from Llama's blocks (Llama, Mistral, SmolLM, Qwen 2 and 3) whose configs need
nothing else (`worker.model.llama.unsupported_reason`); the rest use `TransformersDecoder`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from worker.inference.adapter_format import InvalidAdapter, fuse_pairs, linear_sizes, read_lora
from worker.inference.adapter_memory import AdapterFiles, AdapterMemoryCache
from worker.inference.decoder import PrefillOutput, PromptChunk
from worker.inference.kv_cache import KvCache
from worker.inference.kv_memory import compute_capacity, promise
from worker.inference.llama_weights import LlamaModel, fused_paths
from worker.inference.lora import LoraAB, LoraWeights
from worker.inference.native.forward import NativeForward
from worker.inference.native.library import Kernels
from worker.inference.prefix_cache import BLOCK_TOKENS, PrefixCache, PrefixKeys
from worker.inference.torch_forward import TorchForward


class Forward(Protocol):
    """Forward passes over a KV cache."""

    def prefill(
        self, chunks: Sequence[PromptChunk], adapters: Sequence[LoraWeights | None]
    ) -> list[PrefillOutput]:
        """Compute chunks of prompts, each with its adapter, in one pass."""

    def decode(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        adapters: Sequence[LoraWeights | None],
    ) -> Tensor:
        """Compute one token in each slot; returns logits [slots, vocabulary]."""

    def make_adapter(self, pairs: Mapping[str, LoraAB]) -> LoraWeights:
        """Prepare an adapter's matrices, by the names of fused layers."""

    def forget_adapters(self) -> None:
        """Drop what refers to weights of adapters."""


@dataclass(frozen=True, slots=True)
class _SwappedSlot:
    """Keys and values of a preempted slot, and its adapter."""

    tensors: list[Tensor]
    adapter: LoraWeights | None


class LlamaDecoder:
    """A `Decoder` with a slotted KV cache; each step is one forward pass over all slots."""

    def __init__(
        self,
        model: nn.Module,
        *,
        context_length: int,
        kernels: Kernels | None = None,
        is_int8: bool = False,
    ) -> None:
        self.context_length = context_length
        self._linear_sizes = linear_sizes(model)
        llama = LlamaModel(model, context_length=context_length)
        self._num_layers = llama.num_layers
        # Adapters are of the device and dtype of this tensor.
        self._like = llama.norm
        elements = 2 * llama.num_layers * llama.shape.kv_heads * llama.shape.head_dim
        bytes_per_token = elements * llama.norm.itemsize
        capacity = compute_capacity(
            bytes_per_token=bytes_per_token,
            context_length=context_length,
            device=llama.norm.device,
        )
        # By torch a row's numbers depend on the batch.
        self.takes_drafts = kernels is not None
        self.num_slots, self.num_tokens = capacity.num_slots, capacity.num_tokens
        num_cached_tokens = capacity.num_tokens + capacity.num_prefix_tokens
        promise(self, num_cached_tokens * bytes_per_token)
        self._cache = KvCache(
            layers=llama.num_layers,
            num_slots=self.num_slots,
            num_kv_heads=llama.shape.kv_heads,
            context_length=context_length,
            head_dim=llama.shape.head_dim,
            dtype=llama.norm.dtype,
            device=llama.norm.device,
        )
        self._forward: Forward = (
            NativeForward(llama, self._cache, kernels, is_int8=is_int8)
            if kernels
            else TorchForward(llama, self._cache, is_int8=is_int8)
        )
        self._prefixes = PrefixCache(capacity.num_prefix_tokens)
        self._adapters = AdapterMemoryCache(self._load_adapter)
        # The adapter of each slot.
        self._slot_adapters: list[LoraWeights | None] = [None] * (self.num_slots + 1)
        # Weights of evicted adapters that sequences still use.
        self._evicted: set[LoraWeights] = set()

    def check_adapter(self, files: AdapterFiles) -> None:
        self._load_adapter(files)

    def preload_adapter(self, files: AdapterFiles) -> Callable[[], None] | None:
        return None if self._adapters.is_loaded(files) else partial(self._adapters.preload, files)

    def evict(self, adapter: AdapterFiles, used_slots: Collection[int]) -> bool:
        self._prefixes.discard(adapter.prefix)
        weights = self._adapters.discard(adapter)
        # Slots refer to the weights after the cache has dropped them.
        self._evicted |= {weights} if weights else set()
        self._forward.forget_adapters()
        for slot, slot_weights in enumerate(self._slot_adapters):
            if slot_weights in self._evicted and slot not in used_slots:
                self._cache.erase_slot(slot)
                self._slot_adapters[slot] = None
        self._evicted &= {weights for weights in self._slot_adapters if weights}
        return not self._evicted

    def begin_prefill(self, slot: int, adapter: AdapterFiles | None) -> None:
        self._slot_adapters[slot] = self._adapters.get(adapter) if adapter else None

    def load_prefix(self, slot: int, keys: PrefixKeys, start: int, end: int) -> int:
        if start % BLOCK_TOKENS:
            return 0
        blocks = self._prefixes.find(keys, start // BLOCK_TOKENS, end // BLOCK_TOKENS)
        for index, block in enumerate(blocks):
            self._cache.write_slot(slot, start + index * BLOCK_TOKENS, block)
        return len(blocks) * BLOCK_TOKENS

    def save_prefix(self, slot: int, keys: PrefixKeys, start: int, end: int) -> None:
        def read(index: int) -> list[Tensor]:
            return self._cache.read_slot(slot, index * BLOCK_TOKENS, (index + 1) * BLOCK_TOKENS)

        # Nothing is kept of an adapter that was deleted while a sequence used it.
        adapter = self._slot_adapters[slot]
        if adapter is None or self._adapters.holds(adapter):
            self._prefixes.add(keys, start // BLOCK_TOKENS, end // BLOCK_TOKENS, read)
            if end // BLOCK_TOKENS == len(keys.blocks):
                self._prefixes.touch(keys)

    def prefill(self, chunks: Sequence[PromptChunk]) -> list[PrefillOutput]:
        return self._forward.prefill(chunks, [self._slot_adapters[chunk.slot] for chunk in chunks])

    def copy_slot(self, source: int, target: int, length: int) -> None:
        self._cache.copy_slot(source, target, length)
        self._slot_adapters[target] = self._slot_adapters[source]

    def move_slot(self, source: int, target: int, length: int) -> None:
        self.copy_slot(source, target, length)
        self.release_slot(source)

    def release_slot(self, slot: int) -> None:
        self._cache.erase_slot(slot)
        self._slot_adapters[slot] = None

    def swap_out(self, slot: int, length: int) -> _SwappedSlot:
        return _SwappedSlot(self._cache.read_slot(slot, 0, length), self._slot_adapters[slot])

    def swap_in(self, slot: int, swapped_kv: object) -> None:
        assert isinstance(swapped_kv, _SwappedSlot)
        self._cache.write_slot(slot, 0, swapped_kv.tensors)
        self._slot_adapters[slot] = swapped_kv.adapter

    def decode(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        adapters = [self._slot_adapters[slot] for slot in slots]
        return self._forward.decode(tokens, slots, positions, adapters)

    def _load_adapter(self, files: AdapterFiles) -> LoraWeights:
        """Load an adapter; its matrices are fused where the base model's linear layers are."""
        pairs = read_lora(files.folder, self._linear_sizes)
        fused = {}
        for layer_name, paths in fused_paths(self._num_layers).items():
            parts = [(pairs.pop(path, None), self._linear_sizes[path][1]) for path in paths]
            if pair := fuse_pairs(parts):
                fused[layer_name] = pair.to(self._like)
        if pairs:
            raise InvalidAdapter(
                f"The adapter changes {min(pairs)}, which this engine does not support."
            )
        return self._forward.make_adapter(fused)
