"""Products of native kernels beside torch's, by each set of instructions that this CPU has."""

import copy

import pytest
import torch
from torch import Tensor

from app.c_compiler import list_c_compilers
from tests.worker.inference.native.conftest import LoadKernels
from tests.worker.inference.native.test_kernels import CONFIG, PROMPTS
from tests.worker.inference.test_decoders import copy_prompt, decode, prefill, random_model
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.native.linear import NativeLinear
from worker.inference.quantization import quantize, round_to_int8

pytestmark = pytest.mark.skipif(not list_c_compilers(), reason="no C compiler")

ROWS = 17
# Without, and with what rows and panels are padded with.
SIZES = [(64, 96), (263, 40)]


def make_layer(outputs: int, inputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, weight and bias."""
    torch.manual_seed(outputs)
    x, weight, bias = torch.randn(ROWS, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    return x.to(dtype), weight.to(dtype), bias.to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_a_product_is_exact_and_the_same_for_any_rows(
    load: LoadKernels, dtype: torch.dtype, outputs: int, inputs: int
) -> None:
    x, weight, bias = make_layer(outputs, inputs, dtype)
    half = outputs // 2
    layer = NativeLinear(load(dtype), [weight[:half], weight[half:]], [bias[:half], None])
    out = layer(x)
    bias[half:] = 0
    # Inputs are the layer's own; sums and outputs are in float32.
    expected = x.float() @ weight.float().T + bias.float()
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-4)
    for rows in range(1, ROWS):
        assert torch.equal(layer(x[:rows]), out[:rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_a_product_of_int8_differs_by_the_rounding_of_its_inputs(
    load: LoadKernels, dtype: torch.dtype, outputs: int, inputs: int
) -> None:
    x, weight, _ = make_layer(outputs, inputs, dtype)
    layer = NativeLinear(load(dtype), [weight], [None], is_int8=True)
    out = layer(x)
    rounded = round_to_int8(weight.float())
    # An input is rounded by at most half a step of 16 bits.
    step = x.float().abs().amax() / (127 * 256)
    bound = rounded.abs().sum(dim=1) * step / 2
    difference = (out - x.float() @ rounded.T).abs()
    assert bool((difference <= bound + 1e-4).all())
    assert difference.mean() < 0.1 * bound.mean()
    for rows in range(1, ROWS):
        assert torch.equal(layer(x[:rows]), out[:rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_packed_weights_are_read_as_they_were(
    load: LoadKernels, dtype: torch.dtype, outputs: int, inputs: int
) -> None:
    _, weight, _ = make_layer(outputs, inputs, dtype)
    layer = NativeLinear(load(dtype), [weight], [None])
    rows = [outputs - 1, 0, 33, 0]
    assert torch.equal(layer.read_rows(rows), weight[rows])
    for missing in (outputs, -1):
        with pytest.raises(IndexError, match=f"there are {outputs} outputs, no output {missing}"):
            layer.read_rows([0, missing])


def test_zeros_and_numbers_that_are_none(load: LoadKernels) -> None:
    kernels = load(torch.float32)
    _, weight, _ = make_layer(64, 96, torch.float32)
    weight[3] = 0
    for is_int8 in (False, True):
        layer = NativeLinear(kernels, [weight], [None], is_int8=is_int8)
        x = torch.zeros(3, 96)
        x[1, 40], x[2, 5] = torch.nan, torch.inf
        out = layer(x)
        assert bool((out[0] == 0).all())
        assert bool(out[1].isnan().all())
        assert not bool(out[2].isfinite().any())


def test_quantized_weights_are_within_half_a_step() -> None:
    _, weight, _ = make_layer(64, 96, torch.float32)
    quantized = quantize(weight)
    steps = quantized.scales.float().repeat_interleave(32, dim=1)
    assert bool(((round_to_int8(weight) - weight).abs() <= steps / 2 * 1.0001).all())
    assert int(quantized.values.abs().max()) <= 127


def decode_prompts(decoder: LlamaDecoder) -> Tensor:
    """Log-probabilities at the end of the prompts, and after one more token in each."""
    logits = []
    for slot, prompt in enumerate(PROMPTS):
        logits.append(prefill(decoder, prompt))
        copy_prompt(decoder, slot, len(prompt))
    logits.append(decode(decoder, 0, [11, 22, 33], [len(prompt) for prompt in PROMPTS]))
    return torch.cat(logits).float().log_softmax(dim=-1)


def test_int8_without_kernels_rounds_weights_alike(load: LoadKernels) -> None:
    model = random_model(CONFIG)
    arms = {
        "float32": LlamaDecoder(copy.deepcopy(model), context_length=512),
        "torch": LlamaDecoder(model, context_length=512, is_int8=True),
        "native": LlamaDecoder(
            model, context_length=512, kernels=load(torch.float32), is_int8=True
        ),
    }
    exact, by_torch, native = (decode_prompts(decoder) for decoder in arms.values())
    error, own_error = ((each - exact).abs().mean() for each in (by_torch, native))
    assert 0 < error < 0.05
    # Inputs are rounded too, to 16 bits.
    assert own_error < 1.1 * error
