"""Arithmetic that a workload needs, and the rate at which this machine multiplies matrices.

python -m bench.training.flops TASK_FOLDER     prints the rates of each shape as JSON
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoConfig

from app.recipes.chat import LORA_RANK
from bench.training.peers.task import Task
from worker.modeling import adapter_parameters, choose_dtype
from worker.training.batching import Row

# Tokens of a product: those of a micro-batch of chats, and of a chunk of the head's logits.
TOKENS = 1024
HEAD_TOKENS = 128
REPEATS = 20


@dataclass(frozen=True, slots=True)
class FlopCount:
    """Minimum floating-point operations per token, of forward and backward pass together."""

    linear: int
    lora: int
    attention: int
    head: int

    @classmethod
    def of_model(cls, model: PeftModel) -> "FlopCount":
        config: Any = model.get_base_model().config
        layers: dict[str, Any] = dict(model.named_modules())
        adapted = [layer for name, layer in layers.items() if name.endswith(".base_layer")]
        linear = sum(layer.in_features * layer.out_features for layer in adapted)
        lora = sum(p.numel() for p in adapter_parameters(model).values())
        width = config.num_attention_heads * head_size(config) * config.num_hidden_layers
        return cls(linear, lora, width, config.vocab_size * config.hidden_size)

    @classmethod
    def of_config(cls, config: Any) -> "FlopCount":
        """Count for a Llama-shaped model with LoRA on all linear layers."""
        shapes = layer_shapes(config)
        layers = config.num_hidden_layers
        width = config.num_attention_heads * head_size(config) * layers
        linear = layers * sum(inputs * outputs for inputs, outputs in shapes)
        # Merged products have one adapter for each of their layers.
        merged = (3, 1, 2, 1)
        lora = layers * sum(
            LORA_RANK * (count * inputs + outputs)
            for count, (inputs, outputs) in zip(merged, shapes, strict=True)
        )
        return cls(linear, lora, width, config.vocab_size * config.hidden_size)

    def for_rows(self, rows: Sequence[Row]) -> float:
        """Operations for `rows`: two products with frozen weights, three with LoRA's; causal."""
        lengths = [len(row.ids) for row in rows]
        num_labels = sum(len(row.label_positions) for row in rows)
        return self.count(sum(lengths), lengths, num_labels)

    def count(self, tokens: int, lengths: Sequence[int], num_labels: int) -> float:
        """Operations for `tokens` in linear layers, and attention over rows of these lengths."""
        linear = tokens * (4 * self.linear + 6 * self.lora)
        attention = 7 * sum(length**2 for length in lengths) * self.attention
        return linear + attention + num_labels * 4 * self.head


def head_size(config: Any) -> int:
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(size)


def layer_shapes(config: Any) -> list[tuple[int, int]]:
    """Inputs and outputs of a decoder layer's products: qkv, o, gate and up, down."""
    size = head_size(config)
    query, kv = config.num_attention_heads * size, config.num_key_value_heads * size
    hidden, inner = config.hidden_size, config.intermediate_size
    return [(hidden, query + 2 * kv), (query, hidden), (hidden, 2 * inner), (inner, hidden)]


def measure_rates(config: Any, device: torch.device) -> dict[str, float]:
    """Measure the best rate of each shape, as in training: there with the weight, and back."""
    shapes = [(TOKENS, *shape) for shape in layer_shapes(config)]
    shapes.append((HEAD_TOKENS, config.hidden_size, config.vocab_size))
    return {f"{t}x{i}x{o}": _measure(t, i, o, device) for t, i, o in shapes}


def _measure(tokens: int, inputs: int, outputs: int, device: torch.device) -> float:
    dtype = choose_dtype(device)
    x, grad = (torch.randn(tokens, n, dtype=dtype, device=device) for n in (inputs, outputs))
    weight = torch.randn(outputs, inputs, dtype=dtype, device=device)

    def seconds() -> float:
        started = time.perf_counter()
        functional.linear(x, weight)
        grad @ weight
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return 4 * tokens * inputs * outputs / min(seconds() for _ in range(REPEATS))


def mean_rate(rates: dict[str, float], config: Any, flops: FlopCount, label_share: float) -> float:
    """Average the rates of the shapes by the operations that a token takes in each."""
    *layer_rates, head_rate = rates.values()
    products = [4 * i * o * config.num_hidden_layers for i, o in layer_shapes(config)]
    products.append(4 * round(flops.head * label_share))
    seconds = sum(n / rate for n, rate in zip(products, [*layer_rates, head_rate], strict=True))
    return sum(products) / seconds


def main() -> None:
    task = Task.read(Path(sys.argv[1]))
    torch.set_num_threads(task.threads)
    config = AutoConfig.from_pretrained(task.model)
    print(json.dumps(measure_rates(config, torch.device(task.device))))


if __name__ == "__main__":
    main()
