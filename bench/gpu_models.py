"""Random models of known shapes, and rows of random tokens, for `bench.gpu`."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from worker.modeling import add_adapter, choose_device
from worker.training.batching import Row
from worker.training.nf4 import quantize_base

LORA_RANK = 16
BATCH_SIZE = 8
CONTEXT_LENGTH = 2048
MEAN_TOKENS = 380


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Llama-shaped model."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    tie_word_embeddings: bool


SHAPES = {
    "tiny": Shape(512, 64, 128, 2, 4, 2, True),
    "smollm2-135m": Shape(49152, 576, 1536, 30, 9, 3, True),
    "llama-1b": Shape(128256, 2048, 8192, 16, 32, 8, True),
    "llama-8b": Shape(128256, 4096, 14336, 32, 32, 8, False),
}


def make_model(shape: Shape, dtype: torch.dtype, *, layers: int | None = None) -> PreTrainedModel:
    """Make a model with random weights on the device, frozen. Its weights are equal each time."""
    sizes = {**asdict(shape), "num_hidden_layers": layers or shape.num_hidden_layers}
    config = LlamaConfig(**sizes, max_position_embeddings=CONTEXT_LENGTH, rope_theta=500_000.0)
    torch.manual_seed(0)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with choose_device():
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(previous)
    model.requires_grad_(False)
    model.train(False)
    return model


def make_rows(count: int, vocab_size: int, *, max_tokens: int = CONTEXT_LENGTH) -> list[Row]:
    """Make rows of random tokens; the second half of each is in the loss."""
    generator = np.random.default_rng(0)
    sigma = 0.8
    lengths = generator.lognormal(np.log(MEAN_TOKENS) - sigma**2 / 2, sigma, count)
    rows = []
    for length in np.clip(lengths, 16, max_tokens).astype(int):
        ids = generator.integers(10, vocab_size, length, dtype=np.int32)
        rows.append(Row(ids, np.arange(length // 2, length, dtype=np.int32)))
    return rows


def make_tunable(
    shape: Shape, dtype: torch.dtype, *, layers: int | None = None, quantize: bool = False
) -> PeftModel:
    """Make it with an adapter, on 4-bit weights or full ones."""
    base = make_model(shape, dtype, layers=layers)
    if quantize:
        quantize_base(base, choose_device())
    return add_adapter(base, rank=LORA_RANK, alpha=2 * LORA_RANK, base_model="bench", seed=0)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
