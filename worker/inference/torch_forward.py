"""Forward passes of Llama-shaped models by torch, on any device."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding, rms_norm, silu

from worker.inference.decoder import PrefillOutput, PromptChunk, split_output
from worker.inference.kv_cache import (
    DecodeAttention,
    KvCache,
    PackedPrefillAttention,
    PrefillAttention,
)
from worker.inference.llama_weights import LlamaBlock, LlamaModel, PackedLinear
from worker.inference.lora import LoraAB, LoraBatch, LoraSegments, LoraStack, LoraWeights

AttentionFunction = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class TorchForward:
    """Computes logits; the residual stream is in float32, products in the model's dtype."""

    def __init__(self, model: LlamaModel, cache: KvCache, *, is_int8: bool) -> None:
        def make_linear(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> PackedLinear:
            return PackedLinear(weights, biases, is_int8=is_int8)

        self._shape = model.shape
        self._embedding = model.copy_embedding()
        self._norm = model.norm.float()
        self._head = make_linear([model.head], [None])
        self._blocks = model.read_blocks(make_linear)
        self._cos, self._sin = model.rope_tables(self._embedding)
        self._cache = cache
        # Rebuilt when the set of adapters changes.
        self._decode_stack = LoraStack([])

    def forget_adapters(self) -> None:
        self._decode_stack = LoraStack([])

    def make_adapter(self, pairs: Mapping[str, LoraAB]) -> LoraWeights:
        return LoraWeights({name: pair.merge_blocks() for name, pair in pairs.items()})

    def prefill(
        self, chunks: Sequence[PromptChunk], adapters: Sequence[LoraWeights | None]
    ) -> list[PrefillOutput]:
        sizes = [len(chunk.ids) for chunk in chunks]
        device = self._embedding.device
        positions = torch.cat(
            [torch.arange(c.start, c.start + len(c.ids), device=device) for c in chunks]
        )
        attend = PackedPrefillAttention(
            [PrefillAttention(self._cache, c.slot, c.start, len(c.ids)) for c in chunks], sizes
        )
        ids = [id for chunk in chunks for id in chunk.ids]
        hidden = self._forward(ids, positions, attend, LoraSegments(adapters, sizes))
        return split_output(hidden, chunks, self._head, len(self._embedding))

    def decode(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        adapters: Sequence[LoraWeights | None],
    ) -> Tensor:
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
        embedded = embedding(torch.tensor(ids, device=positions.device), self._embedding)
        hidden = embedded.float()
        for layer, block in enumerate(self._blocks):
            x = self._rms_norm(hidden, block.attention_norm.float())
            q, k, v = self._split_heads(_project(block.qkv, x, lora, f"{layer}.qkv"), block)
            attended = attend(layer, _apply_rope(q, cos, sin), _apply_rope(k, cos, sin), v)
            hidden = hidden + _project(block.o, attended, lora, f"{layer}.o")
            x = self._rms_norm(hidden, block.mlp_norm.float())
            gate, up = _project(block.gate_up, x, lora, f"{layer}.gate_up").chunk(2, dim=-1)
            hidden = hidden + _project(block.down, silu(gate) * up, lora, f"{layer}.down")
        return self._rms_norm(hidden, self._norm)

    def _rms_norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(x, weight.shape, weight, self._shape.eps).to(self._embedding.dtype)

    def _split_heads(
        self, qkv: Tensor, block: LlamaBlock[PackedLinear]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Split into q [tokens, heads, head dim], k and v [tokens, kv heads, head dim]."""
        shape = self._shape
        counts = [shape.heads, shape.kv_heads, shape.kv_heads]
        q, k, v = torch.split(qkv.view(len(qkv), -1, shape.head_dim), counts, dim=1)
        if block.q_norm is not None and block.k_norm is not None:
            q, k = self._rms_norm(q, block.q_norm), self._rms_norm(k, block.k_norm)
        return q, k, v


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
