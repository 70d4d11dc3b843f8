"""Forward passes of native kernels beside torch's, and both beside transformers in float32."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, PreTrainedModel

from app.c_compiler import list_c_compilers
from tests.worker.inference.conftest import MakeAdapter
from tests.worker.inference.test_decoders import copy_prompt, decode, prefill, random_model
from tests.worker.inference.tiny_model import load_tiny
from worker.inference.decoder import PromptChunk
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.native.library import Kernels, load_kernels
from worker.modeling import choose_dtype

CONFIG = LlamaConfig(
    vocab_size=263,
    hidden_size=96,
    intermediate_size=200,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=512,
)
PROMPTS = [[7, 100, 42, 9, 200, 13], [3, 4], [n % 250 for n in range(150)]]


def decode_prompts(decoder: LlamaDecoder) -> Tensor:
    """Prefill the prompts, and return the log-probabilities after one more token in each."""
    for slot, prompt in enumerate(PROMPTS):
        prefill(decoder, prompt)
        copy_prompt(decoder, slot, len(prompt))
    logits = decode(decoder, 0, [11, 22, 33], [len(prompt) for prompt in PROMPTS])
    return logits.float().log_softmax(dim=-1)


@pytest.mark.skipif(
    not list_c_compilers() or choose_dtype(torch.device("cpu")) != torch.bfloat16,
    reason="no C compiler, or a CPU that is not served in bfloat16",
)
def test_bfloat16_is_as_near_to_float32_as_with_torch(kernels_folder: Path) -> None:
    model = random_model(CONFIG).to(torch.bfloat16)
    exact = decode_prompts(LlamaDecoder(copy.deepcopy(model).float(), context_length=512))
    kernels = load_kernels(kernels_folder, torch.bfloat16)
    assert kernels is not None
    native = decode_prompts(LlamaDecoder(model, context_length=512, kernels=kernels))
    by_torch = decode_prompts(LlamaDecoder(model, context_length=512))
    error, torch_error = ((each - exact).abs().mean() for each in (native, by_torch))
    assert error <= 1.1 * torch_error
    # A random model of such large weights has far more extreme logits than a trained one.
    assert error < 0.03


@pytest.mark.parametrize(
    ("dtype", "is_int8", "threads"),
    [(torch.bfloat16, False, 1), (torch.float32, False, 2), (torch.bfloat16, True, 2)],
)
def test_a_row_is_the_same_alone_and_in_any_batch(
    kernels_folder: Path,
    base_folder: Path,
    adapter: MakeAdapter,
    dtype: torch.dtype,
    is_int8: bool,
    threads: int,
) -> None:
    """Also in bfloat16 and int8, where the least difference may change a close choice."""
    kernels = load_kernels(kernels_folder, dtype)
    if kernels is None:
        pytest.skip("no C compiler")
    model = load_tiny(base_folder).to(dtype)
    decoder = LlamaDecoder(model, context_length=512, kernels=kernels, is_int8=is_int8)
    adapters = [adapter(name)[0] for name in "ab"]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = 7
        for slot in range(rows):
            prefill(decoder, PROMPTS[slot % 3], [None, *adapters][slot % 3])
            copy_prompt(decoder, slot, len(PROMPTS[slot % 3]))
        lengths = [len(PROMPTS[slot % 3]) for slot in range(rows)]
        together = decode(decoder, 0, [5] * rows, lengths)
        for slot in range(rows):
            alone = decode(decoder, slot, [5], [lengths[slot]])
            assert torch.equal(alone[0], together[slot])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_prompt_is_the_same_whole_by_chunks_and_beside_others(
    kernels_folder: Path, base_folder: Path, adapter: MakeAdapter, dtype: torch.dtype
) -> None:
    kernels = load_kernels(kernels_folder, dtype)
    if kernels is None:
        pytest.skip("no C compiler")
    model = load_tiny(base_folder).to(dtype)
    decoder = LlamaDecoder(model, context_length=512, kernels=kernels)
    prompt, other = [n % 250 for n in range(150)], [n % 90 for n in range(80)]
    tuned = adapter("a")[0]

    def compute(sizes: list[int], beside: int) -> Tensor:
        """Compute the prompt by chunks of these sizes, the first one beside another prompt."""
        slots = decoder.num_slots, decoder.num_slots - 1
        decoder.begin_prefill(slots[0], tuned)
        decoder.begin_prefill(slots[1], None)
        logits, start = [], 0
        for number, size in enumerate(sizes):
            chunks = [PromptChunk(slots[0], prompt[start : start + size], start, size)]
            if number == 0 and beside:
                chunks.insert(0, PromptChunk(slots[1], other[:beside]))
            logits.append(decoder.prefill(chunks)[-1].logits)
            start += size
        return torch.cat(logits)

    with torch.inference_mode():
        whole = compute([150], 0)
        assert torch.equal(compute([64, 86], 0), whole)
        assert torch.equal(compute([1, 70, 3, 76], 33), whole)


def test_nan_stays_nan(native_kernels: Kernels, tiny: PreTrainedModel) -> None:
    tiny.get_submodule("model.layers.0.input_layernorm").weight.data[0] = torch.nan
    decoder = LlamaDecoder(tiny, context_length=512, kernels=native_kernels)
    prefill(decoder, [3, 4])
    copy_prompt(decoder, 0, 2)
    assert decode(decoder, 0, [5], [2]).isnan().all()
