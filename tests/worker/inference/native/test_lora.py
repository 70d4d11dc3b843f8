"""LoRA by native kernels beside PEFT's, with sizes that fill no vector."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import LlamaConfig

from app.c_compiler import list_c_compilers
from tests.worker.inference.native.conftest import LoadKernels
from tests.worker.inference.test_decoders import random_model
from tests.worker.inference.tiny_model import make_adapter
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.decoder import PromptChunk
from worker.inference.llama_decoder import LlamaDecoder

pytestmark = pytest.mark.skipif(not list_c_compilers(), reason="no C compiler")

CONFIG = LlamaConfig(
    vocab_size=101,
    hidden_size=72,
    intermediate_size=150,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
# A rank and its layers; the second changes only one layer of those that are computed as one.
ADAPTERS = {"a": (5, "all-linear"), "b": (3, ["k_proj", "up_proj"])}
PROMPTS = [[n % 100 for n in range(start, start + length)] for start, length in ((3, 9), (40, 2))]


def make_adapters(folder: Path) -> dict[str, tuple[AdapterFiles, PeftModel]]:
    made = {}
    for name, (rank, layers) in ADAPTERS.items():
        torch.manual_seed(rank)
        model = make_adapter(
            random_model(CONFIG), folder / name, r=rank, lora_alpha=2 * rank, target_modules=layers
        )
        made[name] = AdapterFiles(f"prefix/{name}", folder / name), model
    return made


def prefill(decoder: LlamaDecoder, requests: list[tuple[AdapterFiles, list[int]]]) -> list[Tensor]:
    """The last logits of prompts that are read at once, each by its adapter."""
    with torch.inference_mode():
        for slot, (files, _) in enumerate(requests):
            decoder.begin_prefill(slot, files)
        chunks = [PromptChunk(slot, prompt) for slot, (_, prompt) in enumerate(requests)]
        return [output.logits[-1] for output in decoder.prefill(chunks)]


def decode(decoder: LlamaDecoder, slots: list[int], token: int) -> Tensor:
    with torch.inference_mode():
        positions = [len(PROMPTS[slot % len(PROMPTS)]) for slot in slots]
        return decoder.decode(slots, [token] * len(slots), positions)


def test_adapters_compute_what_peft_computes(load: LoadKernels, tmp_path: Path) -> None:
    decoder = LlamaDecoder(random_model(CONFIG), context_length=64, kernels=load(torch.float32))
    adapters = make_adapters(tmp_path)
    requests = [(files, prompt) for files, _ in adapters.values() for prompt in PROMPTS]
    logits = prefill(decoder, requests)
    next_logits = decode(decoder, list(range(len(requests))), 7)
    models = [model for _, model in adapters.values() for _ in PROMPTS]
    for index, ((_, prompt), model) in enumerate(zip(requests, models, strict=True)):
        with torch.inference_mode():
            expected = model(torch.tensor([[*prompt, 7]])).logits[0, -2:]
        torch.testing.assert_close(logits[index], expected[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(next_logits[index], expected[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_row_is_the_same_in_groups_of_any_size(
    load: LoadKernels, tmp_path: Path, dtype: torch.dtype
) -> None:
    """As many rows of an adapter as are computed at a time, and more."""
    model = random_model(CONFIG).to(dtype)
    decoder = LlamaDecoder(model, context_length=64, kernels=load(dtype))
    files = make_adapters(tmp_path)["a"][0]
    [alone] = prefill(decoder, [(files, PROMPTS[0])])
    decoded_alone = decode(decoder, [0], 7)
    for count in range(2, 8):
        together = prefill(decoder, [(files, PROMPTS[slot % 2]) for slot in range(count)])
        assert torch.equal(together[0], alone)
        assert torch.equal(decode(decoder, list(range(count)), 7)[0], decoded_alone[0])
