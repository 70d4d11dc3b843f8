"""Batched forward pass of Llama-shaped models: many sequences and LoRA adapters at once.

Supports models built from Llama's blocks (Llama, Mistral, SmolLM, Qwen 2 and 3) whose configs need
nothing else (`llama_weights.unsupported_reason`); the rest use `TransformersDecoder`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import embedding, rms_norm, silu
from transformers import PreTrainedModel

from worker.inference.adapter_format import InvalidAdapter, fuse_pairs, linear_sizes, read_lora
from worker.inference.adapter_memory import AdapterFiles, AdapterMemoryCache
from worker.inference.decoder import PrefillOutput, PromptChunk
from worker.inference.kv_cache import (
    DecodeAttention,
    KvCache,
    PackedPrefillAttention,
    PrefillAttention,
)
from worker.inference.kv_memory import compute_capacity, promise
from worker.inference.llama_weights import LlamaBlock, PackedLinear, fused_paths, read_block
from worker.inference.lora import LoraBatch, LoraSegments, LoraStack, LoraWeights
from worker.inference.native.kernels import Kernels, ModelShape, NativeForward, make_table
from worker.inference.prefix_cache import BLOCK_TOKENS, PrefixCache, PrefixKeys

AttentionFunction = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _SwappedSlot:
    """Keys and values of a preempted slot, and its adapter."""

    tensors: list[Tensor]
    adapter: LoraWeights | None


class LlamaDecoder:
    """A `Decoder` with a slotted KV cache; each step is one forward pass over all slots."""

    def __init__(
        self, model: PreTrainedModel, *, context_length: int, kernels: Kernels | None = None
    ) -> None:
        config = model.config
        self.context_length = context_length
        self._num_heads = int(config.num_attention_heads)
        self._num_kv_heads = int(config.num_key_value_heads)
        self._head_dim = int(
            getattr(config, "head_dim", None) or config.hidden_size // self._num_heads
        )
        self._eps = float(config.rms_norm_eps)
        self._linear_sizes = linear_sizes(model)
        weights = model.state_dict()
        self._embedding = weights["model.embed_tokens.weight"]
        self._norm = weights["model.norm.weight"]
        self._head = PackedLinear([weights["lm_head.weight"]], [None])
        self._cos, self._sin = self._rope_tables(model, self._embedding)
        self._blocks = [read_block(weights, layer) for layer in range(config.num_hidden_layers)]
        capacity = compute_capacity(
            bytes_per_token=self._kv_bytes_per_token,
            context_length=context_length,
            device=self._embedding.device,
        )
        self.num_slots, self.num_tokens = capacity.num_slots, capacity.num_tokens
        num_cached_tokens = capacity.num_tokens + capacity.num_prefix_tokens
        promise(self, num_cached_tokens * self._kv_bytes_per_token)
        self._cache = self._make_cache()
        self._native = self._make_native(model, kernels) if kernels else None
        self._prefixes = PrefixCache(capacity.num_prefix_tokens)
        self._adapters = AdapterMemoryCache(self._load_adapter)
        # The adapter of each slot.
        self._slot_adapters: list[LoraWeights | None] = [None] * (self.num_slots + 1)
        # Weights of evicted adapters that sequences still use.
        self._evicted: set[LoraWeights] = set()
        # Rebuilt when the set of adapters changes.
        self._decode_stack = LoraStack([])

    @property
    def _kv_bytes_per_token(self) -> int:
        elements = 2 * len(self._blocks) * self._num_kv_heads * self._head_dim
        return int(elements * self._embedding.element_size())

    def _make_cache(self) -> KvCache:
        return KvCache(
            layers=len(self._blocks),
            num_slots=self.num_slots,
            num_kv_heads=self._num_kv_heads,
            context_length=self.context_length,
            head_dim=self._head_dim,
            dtype=self._embedding.dtype,
            device=self._embedding.device,
        )

    def _make_native(self, model: PreTrainedModel, kernels: Kernels) -> NativeForward:
        shape = ModelShape(self._num_heads, self._num_kv_heads, self._head_dim, self._eps)
        rope = self._rope_tables(model, torch.empty(0))
        return NativeForward(kernels, shape, self._blocks, self._norm, rope, self._cache)

    def _rope_tables(self, model: PreTrainedModel, like: Tensor) -> tuple[Tensor, Tensor]:
        """Compute RoPE cosines and sines of every position, [positions, 1, head dim].

        Computed by transformers, which covers every RoPE variant. The first half of the sines is
        negated, so that a rotation is x·cos + swap_halves(x)·sin.
        """
        position_ids = torch.arange(self.context_length, device=self._embedding.device)[None]
        rotary = model.get_submodule("model.rotary_emb")
        cos, sin = rotary(like, position_ids)
        sin = torch.cat([-sin[..., : self._head_dim // 2], sin[..., self._head_dim // 2 :]], dim=-1)
        return cos[0][:, None].clone(), sin[0][:, None].clone()

    def check_adapter(self, files: AdapterFiles) -> None:
        self._load_adapter(files)

    def preload_adapter(self, files: AdapterFiles) -> Callable[[], None] | None:
        return None if self._adapters.is_loaded(files) else partial(self._adapters.preload, files)

    def evict(self, adapter: AdapterFiles, used_slots: Collection[int]) -> bool:
        self._prefixes.discard(adapter.prefix)
        weights = self._adapters.discard(adapter)
        # Slots refer to the weights after the cache has dropped them.
        self._evicted |= {weights} if weights else set()
        self._decode_stack = LoraStack([])
        if self._native:
            self._native.forget_adapters()
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
        sizes = [len(chunk.ids) for chunk in chunks]
        device = self._embedding.device
        positions = torch.cat(
            [torch.arange(c.start, c.start + len(c.ids), device=device) for c in chunks]
        )
        attend = PackedPrefillAttention(
            [PrefillAttention(self._cache, c.slot, c.start, len(c.ids)) for c in chunks], sizes
        )
        lora = LoraSegments([self._slot_adapters[chunk.slot] for chunk in chunks], sizes)
        ids = [id for chunk in chunks for id in chunk.ids]
        hidden = self._forward(ids, positions, attend, lora).split(sizes)
        logits = self._last_logits(hidden, [chunk.num_logits for chunk in chunks])
        return [PrefillOutput(*output) for output in zip(hidden, logits, strict=True)]

    def _last_logits(self, hidden: Sequence[Tensor], counts: Sequence[int]) -> Sequence[Tensor]:
        """Compute the logits of the last tokens of each chunk: the head is the largest product."""
        wanted = torch.cat([h[len(h) - count :] for h, count in zip(hidden, counts, strict=True)])
        if not len(wanted):
            return [wanted.new_empty(0, len(self._embedding))] * len(counts)
        logits: Sequence[Tensor] = self._head(wanted).split(list(counts))
        return logits

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
        if self._native:
            embedded = embedding(torch.tensor(tokens), self._embedding)
            return self._head(self._native(embedded, slots, positions, adapters))
        lora = self._lora_batch(adapters)
        attend = DecodeAttention(self._cache, slots, positions)
        position_ids = torch.tensor(positions, device=self._embedding.device)
        return self._head(self._forward(tokens, position_ids, attend, lora))

    def _lora_batch(self, adapters: Sequence[LoraWeights | None]) -> LoraBatch | None:
        present = {adapter for adapter in adapters if adapter}
        if not present:
            return None
        if not self._decode_stack.can_serve(present):
            self._decode_stack = LoraStack(list(present))
        return LoraBatch(self._decode_stack, adapters)

    def _forward(
        self,
        ids: Sequence[int],
        positions: Tensor,
        attend: AttentionFunction,
        lora: LoraBatch | LoraSegments | None,
    ) -> Tensor:
        """Compute hidden states after the final norm, [tokens, hidden size]."""
        cos, sin = self._cos[positions], self._sin[positions]
        hidden = embedding(torch.tensor(ids, device=positions.device), self._embedding)
        for layer, block in enumerate(self._blocks):
            x = self._rms_norm(hidden, block.attention_norm)
            q, k, v = self._split_heads(_project(block.qkv, x, lora, f"{layer}.qkv"), block)
            attended = attend(layer, _apply_rope(q, cos, sin), _apply_rope(k, cos, sin), v)
            hidden = hidden + _project(block.o, attended, lora, f"{layer}.o")
            x = self._rms_norm(hidden, block.mlp_norm)
            gate, up = _project(block.gate_up, x, lora, f"{layer}.gate_up").chunk(2, dim=-1)
            hidden = hidden + _project(block.down, silu(gate) * up, lora, f"{layer}.down")
        return self._rms_norm(hidden, self._norm)

    def _rms_norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(x, weight.shape, weight, self._eps)

    def _split_heads(self, qkv: Tensor, block: LlamaBlock) -> tuple[Tensor, Tensor, Tensor]:
        """Split into q [tokens, heads, head dim], k and v [tokens, kv heads, head dim]."""
        counts = [self._num_heads, self._num_kv_heads, self._num_kv_heads]
        q, k, v = torch.split(qkv.view(len(qkv), -1, self._head_dim), counts, dim=1)
        if block.q_norm is not None and block.k_norm is not None:
            q, k = self._rms_norm(q, block.q_norm), self._rms_norm(k, block.k_norm)
        return q, k, v

    def _load_adapter(self, files: AdapterFiles) -> LoraWeights:
        """Load an adapter; its matrices are fused where the base model's linear layers are."""
        pairs = read_lora(files.folder, self._linear_sizes)
        fused = {}
        for layer_name, paths in fused_paths(len(self._blocks)).items():
            parts = [(pairs.pop(path, None), self._linear_sizes[path][1]) for path in paths]
            if pair := fuse_pairs(parts):
                fused[layer_name] = pair.to(self._embedding)
        if pairs:
            raise InvalidAdapter(
                f"The adapter changes {min(pairs)}, which this engine does not support."
            )
        return LoraWeights(fused, make_table(fused, len(self._blocks)) if self._native else None)


def _project(
    layer: PackedLinear, x: Tensor, lora: LoraBatch | LoraSegments | None, layer_name: str
) -> Tensor:
    out = layer(x)
    if lora is not None:
        lora.add_delta(layer_name, x, out)
    return out


def _apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE (Su et al. 2021) to [tokens, heads, head dim]; half of `sin` is negated."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
