"""The forward pass of Llama-shaped models over a stream of tokens, made for training LoRA.

The same mathematics as transformers with PEFT, from the same weights (a test holds them together),
without padding, with LoRA inside the linear layers, and with those that read the same input
joined: query, key and value to one product, gate and up to one.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from worker.training.batching import MicroBatch
from worker.training.lora import lora_linear
from worker.training.losses import head_loss

# Model types whose layers are what `_Layer` computes, norms of queries and keys included.
KNOWN_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
# Rotary embeddings that do not depend on the length of the row.
KNOWN_ROPES = frozenset({"default", "linear", "llama3", "yarn"})
# Up to this length plain batched products beat torch's fused attention on CPUs, 1.5 to 4 times.
# Beyond it they would still, but the weights they keep for the backward pass grow too large.
SHORT = 1024


def fits(model: PeftModel) -> bool:
    """Whether this file computes what `model` computes."""
    base: Any = model.get_base_model()
    config = base.config
    return bool(
        config.model_type in KNOWN_TYPES
        and config.hidden_act == "silu"
        and config.rope_parameters["rope_type"] in KNOWN_ROPES
        and config.rope_parameters.get("partial_rotary_factor", 1) == 1
        and not getattr(config, "mlp_bias", False)
        and getattr(config, "sliding_window", None) is None
    )


class Joined:
    """Linear layers with one input as one: frozen weights stacked, LoRA B's block-diagonal."""

    def __init__(self, modules: list[Any]) -> None:
        self._modules = modules
        self.weight = torch.cat([module.base_layer.weight for module in modules])
        self.bias = _joined_bias(modules)
        self.scaling = float(modules[0].scaling["default"])
        # The model's own weights become views of the joined one: nothing is held twice.
        parts = self.weight.split([module.base_layer.out_features for module in modules])
        for module, part in zip(modules, parts, strict=True):
            module.base_layer.weight.data = part

    def __call__(self, x: Tensor) -> Tensor:
        a = torch.cat([module.lora_A["default"].weight for module in self._modules])
        b = torch.block_diag(*(module.lora_B["default"].weight for module in self._modules))
        return lora_linear(x, self.weight, self.bias, a.to(x.dtype), b.to(x.dtype), self.scaling)


def _joined_bias(modules: list[Any]) -> Tensor | None:
    if modules[0].base_layer.bias is None:
        return None
    return torch.cat([module.base_layer.bias for module in modules])


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) · w; saves its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        unit: Tensor = (x * inverse).to(x.dtype)
        return unit.mul_(weight)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        grad = (upstream[0] * weight).float()
        unit = x * inverse
        along = (grad * unit).mean(-1, keepdim=True)
        return grad.sub_(unit.mul_(along)).mul_(inverse).to(x.dtype), None, None


class _Rotate(torch.autograd.Function):
    """Rotary embedding of the first heads of [T, heads, D], in place; its inverse backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.heads = heads
        ctx.save_for_backward(cos, sin)
        ctx.mark_dirty(x)
        return _rotate(x, heads, cos, sin)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(upstream[0].clone(), ctx.heads, cos, -sin), None, None, None


def _rotate(x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[:, :heads].chunk(2, dim=-1)
    turned = first * cos - second * sin
    second.mul_(cos).add_(first * sin)
    first.copy_(turned)
    return x


class _SiluProduct(torch.autograd.Function):
    """silu(gate) · up of [T, gate and up]; saves its input alone."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        out = torch.empty_like(both)
        gate_grad, up_grad = out.chunk(2, dim=-1)
        gate_grad.copy_(torch.ops.aten.silu_backward(upstream[0] * up, gate))
        torch.mul(upstream[0], functional.silu(gate), out=up_grad)
        return out


class _Spread(torch.autograd.Function):
    """The stream [T, C] into blocks [rows, length, C].

    Backwards a token receives from the one slot it has; a shared one from its slots in all rows,
    summed in float32 by `sum`. Scattered addition would round to bfloat16 after every row.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: MicroBatch) -> tuple[Tensor, ...]:
        ctx.batch = batch
        return tuple(x[block] for block in batch.blocks)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        batch: MicroBatch = ctx.batch
        flat = torch.cat([grad.flatten(0, 1) for grad in upstream])
        out = flat[batch.collect]
        if batch.shared:
            out[: batch.shared] = sum(
                grad[:, : batch.shared].sum(0, dtype=torch.float32) for grad in upstream
            )
        return out, None


class _Collect(torch.autograd.Function):
    """Blocks [rows, length, C] back into the stream [T, C]; the inverse of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, batch: MicroBatch, *blocks: Tensor) -> Tensor:
        ctx.batch = batch
        return torch.cat([block.flatten(0, 1) for block in blocks])[batch.collect]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = upstream
        batch: MicroBatch = ctx.batch
        sizes = [block.numel() for block in batch.blocks]
        flat = grad.new_zeros(sum(sizes), grad.shape[-1])
        flat[batch.collect] = grad
        parts = flat.split(sizes)
        return None, *(
            part.view(*block.shape, -1) for part, block in zip(parts, batch.blocks, strict=True)
        )


@dataclass(frozen=True, slots=True)
class _Heads:
    """Numbers of query heads and of key-value heads, and the size of each."""

    query: int
    kv: int
    size: int


def _attend(qkv: Tensor, heads: _Heads) -> Tensor:
    """Causal attention of a block: [rows, length, heads · size] -> [rows, length, query · size]."""
    rows, length, _ = qkv.shape
    q, k, v = (
        part.transpose(1, 2)
        for part in qkv.view(rows, length, -1, heads.size).split(
            [heads.query, heads.kv, heads.kv], dim=2
        )
    )
    if qkv.device.type == "cpu" and length <= SHORT:
        out = _attend_short(q, k, v)
    else:
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2).reshape(rows, length, -1)


class _ShortAttention(torch.autograd.Function):
    """Causal attention [groups, heads · length, size] to keys and values [groups, length, size].

    By plain batched products, the query heads that share keys stacked.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        stacked, size = q.shape[1:]
        length = k.shape[1]
        later = torch.full((length, length), -math.inf, dtype=q.dtype, device=q.device).triu_(1)
        ctx.scale = 1 / math.sqrt(size)
        scores = torch.baddbmm(
            later.repeat(stacked // length, 1), q, k.transpose(1, 2), alpha=ctx.scale
        )
        weights = scores.softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        return weights @ v

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (grad,) = upstream
        q, k, v, weights = ctx.saved_tensors
        weights_grad = grad @ v.transpose(1, 2)
        # Zero where the weight is: what the mask hid stays hidden.
        scores_grad = torch.ops.aten._softmax_backward_data(weights_grad, weights, -1, q.dtype)
        q_grad = (scores_grad @ k).mul_(ctx.scale)
        k_grad = (scores_grad.transpose(1, 2) @ q).mul_(ctx.scale)
        return q_grad, k_grad, weights.transpose(1, 2) @ grad


def _attend_short(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention [rows, heads, length, size]."""
    rows, kv_heads, length, size = k.shape
    out: Tensor = _ShortAttention.apply(
        q.reshape(rows * kv_heads, -1, size),
        k.reshape(rows * kv_heads, length, size),
        v.reshape(rows * kv_heads, length, size),
    )
    return out.view(q.shape)


class _Layer:
    """One decoder layer's weights and computation."""

    def __init__(self, layer: Any, heads: _Heads) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._heads = heads
        self._qkv = Joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self._o = Joined([attention.o_proj])
        self._gate_up = Joined([mlp.gate_proj, mlp.up_proj])
        self._down = Joined([mlp.down_proj])
        self._input_norm = layer.input_layernorm
        self._mlp_norm = layer.post_attention_layernorm
        self._q_norm = getattr(attention, "q_norm", None)
        self._k_norm = getattr(attention, "k_norm", None)

    def __call__(self, hidden: Tensor, batch: MicroBatch, cos: Tensor, sin: Tensor) -> Tensor:
        qkv = self._rotated(self._qkv(_normed(hidden, self._input_norm)), cos, sin)
        blocks = _Spread.apply(qkv, batch)
        attended = _Collect.apply(batch, *(_attend(block, self._heads) for block in blocks))
        hidden = hidden + self._o(attended)
        gate_up = self._gate_up(_normed(hidden, self._mlp_norm))
        return hidden + self._down(_SiluProduct.apply(gate_up))

    def _rotated(self, qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = self._heads
        split = qkv.view(len(qkv), -1, heads.size)
        if self._q_norm is not None:
            q, k, v = split.split([heads.query, heads.kv, heads.kv], dim=1)
            split = torch.cat([_normed(q, self._q_norm), _normed(k, self._k_norm), v], dim=1)
        rotated: Tensor = _Rotate.apply(split, heads.query + heads.kv, cos, sin)
        return rotated.flatten(1)


def _normed(x: Tensor, norm: Any) -> Tensor:
    result: Tensor = _RmsNorm.apply(x, norm.weight, norm.variance_epsilon)
    return result


class LlamaScorer:
    """A `scorers.Scorer` for a Llama-shaped model with an adapter."""

    shares_beginnings = True

    def __init__(self, model: PeftModel) -> None:
        base: Any = model.get_base_model()
        config = base.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = _Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self._embedding: nn.Embedding = base.model.embed_tokens
        self._rotary = base.model.rotary_emb
        self._layers = [_Layer(layer, heads) for layer in base.model.layers]
        self._norm = base.model.norm
        self._head: Tensor = base.lm_head.weight

    def token_losses(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Negative log-probability of each label [N] in float32, and whether it was likeliest."""
        hidden = self._embedding(batch.ids)
        cos, sin = self._rotary(hidden, batch.positions[None])
        half = cos.shape[-1] // 2
        cos, sin = cos[0, :, None, :half], sin[0, :, None, :half]
        for layer in self._layers:
            hidden = layer(hidden, batch, cos, sin)
        return head_loss(_normed(hidden[batch.predicting], self._norm), self._head, batch.labels)
