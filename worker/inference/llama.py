"""Llama's architecture, computed for serving: rows of many sequences and adapters in one pass.

Covers the models whose blocks are Llama's (Llama, Mistral, SmolLM, Qwen 2 and 3) and whose configs
ask nothing beyond that (`weights.why_not`). The others are left to `generic.GenericDecoder`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding, rms_norm, silu
from transformers import PreTrainedModel

from worker.inference.adapter_cache import AdapterFiles, AdapterMemory
from worker.inference.adapter_format import AdapterRefused, fuse, linear_sizes, read_pairs
from worker.inference.decoder import Extended
from worker.inference.kv_cache import BatchAttention, KvCache, PromptAttention, rows_that_fit
from worker.inference.llama_weights import Block, Projection, fused_paths, read_block
from worker.inference.lora import LoraBatch, LoraStack, LoraWeights

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class LlamaDecoder:
    """A `Decoder` over a slot cache; every step is one pass over all rows."""

    def __init__(self, model: PreTrainedModel, *, context_length: int) -> None:
        config = model.config
        self.context_length = context_length
        self._heads = int(config.num_attention_heads)
        self._kv_heads = int(config.num_key_value_heads)
        self._size = int(getattr(config, "head_dim", None) or config.hidden_size // self._heads)
        self._eps = float(config.rms_norm_eps)
        self._sizes = linear_sizes(model)
        weights = model.state_dict()
        self._embedding = weights["model.embed_tokens.weight"]
        self._norm = weights["model.norm.weight"]
        self._head = Projection([weights["lm_head.weight"]], [None])
        self._cos, self._sin = self._rope(model)
        self._blocks = [read_block(weights, layer) for layer in range(config.num_hidden_layers)]
        self.rows = rows_that_fit(self._bytes_per_row, self._embedding.device)
        self._cache = self._make_cache()
        self._adapters = AdapterMemory(self._load)
        # The adapter of each row, the stage's last.
        self._owners: list[LoraWeights | None] = [None] * (self.rows + 1)
        # Of the stage, and of the rows; made anew when other adapters come.
        self._staged = LoraStack([])
        self._mixed = LoraStack([])

    @property
    def _bytes_per_row(self) -> int:
        per_token = 2 * len(self._blocks) * self._kv_heads * self._size
        return int(per_token * self._embedding.element_size() * self.context_length)

    def _make_cache(self) -> KvCache:
        return KvCache(
            layers=len(self._blocks),
            rows=self.rows,
            heads=self._kv_heads,
            length=self.context_length,
            size=self._size,
            dtype=self._embedding.dtype,
            device=self._embedding.device,
        )

    def _rope(self, model: PreTrainedModel) -> tuple[Tensor, Tensor]:
        """Cosines and sines of every position, [positions, 1, head size].

        transformers computes them, so each variant of RoPE is what it is there. The sines' first
        half is negated, so that rotating is x·cos + swapped halves·sin.
        """
        places = torch.arange(self.context_length, device=self._embedding.device)[None]
        rotary = model.get_submodule("model.rotary_emb")
        cos, sin = rotary(self._embedding, places)
        sin = torch.cat([-sin[..., : self._size // 2], sin[..., self._size // 2 :]], dim=-1)
        return cos[0][:, None].clone(), sin[0][:, None].clone()

    def check(self, files: AdapterFiles) -> None:
        self._load(files)

    def stage(self, adapter: AdapterFiles | None) -> None:
        owner = self._adapters.get(adapter) if adapter else None
        self._owners[-1] = owner
        self._staged = LoraStack([owner] if owner else [])

    def extend(self, ids: Sequence[int], start: int, *, keep: int = 1) -> Extended:
        owner = self._owners[-1]
        lora = LoraBatch(self._staged, [owner]) if owner else None
        positions = torch.arange(start, start + len(ids), device=self._embedding.device)
        attend = PromptAttention(self._cache, start, len(ids))
        hidden = self._forward(ids, positions, attend, lora)
        return Extended(hidden, self._head(hidden[len(ids) - keep :]))

    def adopt(self, row: int, length: int) -> None:
        self._cache.copy(self._cache.stage, row, length)
        self._owners[row] = self._owners[-1]

    def move(self, source: int, target: int, length: int) -> None:
        self._cache.copy(source, target, length)
        self._owners[target] = self._owners[source]

    def decode(self, first: int, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        lora = self._lora(self._owners[first : first + len(tokens)])
        attend = BatchAttention(self._cache, first, positions)
        places = torch.tensor(positions, device=self._embedding.device)
        return self._head(self._forward(tokens, places, attend, lora))

    def _lora(self, owners: Sequence[LoraWeights | None]) -> LoraBatch | None:
        present = {owner for owner in owners if owner}
        if not present:
            return None
        if not self._mixed.serves(present):
            self._mixed = LoraStack(list(present))
        return LoraBatch(self._mixed, owners)

    def _forward(
        self, ids: Sequence[int], positions: Tensor, attend: Attend, lora: LoraBatch | None
    ) -> Tensor:
        """Hidden states [tokens, width] behind the last norm."""
        cos, sin = self._cos[positions], self._sin[positions]
        hidden = embedding(torch.tensor(ids, device=positions.device), self._embedding)
        for layer, block in enumerate(self._blocks):
            x = self._normed(hidden, block.attention_norm)
            q, k, v = self._heads_of(_project(block.qkv, x, lora, f"{layer}.qkv"), block)
            seen = attend(layer, _rotate(q, cos, sin), _rotate(k, cos, sin), v)
            hidden = hidden + _project(block.o, seen, lora, f"{layer}.o")
            x = self._normed(hidden, block.mlp_norm)
            gate, up = _project(block.gate_up, x, lora, f"{layer}.gate_up").chunk(2, dim=-1)
            hidden = hidden + _project(block.down, silu(gate) * up, lora, f"{layer}.down")
        return self._normed(hidden, self._norm)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(x, weight.shape, weight, self._eps)

    def _heads_of(self, qkv: Tensor, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """q [tokens, heads, size], k and v [tokens, kv heads, size]."""
        counts = [self._heads, self._kv_heads, self._kv_heads]
        q, k, v = torch.split(qkv.view(len(qkv), -1, self._size), counts, dim=1)
        if block.q_norm is not None and block.k_norm is not None:
            q, k = self._normed(q, block.q_norm), self._normed(k, block.k_norm)
        return q, k, v

    def _load(self, files: AdapterFiles) -> LoraWeights:
        """The adapter, with the parts of each fused product fused as the product is."""
        pairs = read_pairs(files.folder, self._sizes)
        fused = {}
        for place, paths in fused_paths(len(self._blocks)).items():
            parts = [(pairs.pop(path, None), self._sizes[path][1]) for path in paths]
            if pair := fuse(parts):
                fused[place] = pair.to(self._embedding)
        if pairs:
            raise AdapterRefused(f"The adapter changes {min(pairs)}, which is not served here.")
        return LoraWeights(fused)


def _project(projection: Projection, x: Tensor, lora: LoraBatch | None, place: str) -> Tensor:
    out = projection(x)
    if lora is not None:
        lora.add(place, x, out)
    return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on [tokens, heads, size]; halves are swapped by rolling, their sign is in `sin`."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
