"""AdamW: decay of matrices alone, clipping, and the native step, which equals torch's."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worker.inference.native.library import Kernels
from worker.training.native_fused_ops import find_kernels
from worker.training.optimizer import ClippingAdamW, NativeAdamW, build_optimizer

# Several units of numbers, a part of one, and vectors, which do not decay.
SHAPES = [(130, 300), (3, 5), (700,), (1,)]
MAX_NORM = 0.5


@pytest.fixture(params=[torch.bfloat16, torch.float32])
def kernels(request: pytest.FixtureRequest, kernels_folder: Path) -> Kernels:
    found = find_kernels(kernels_folder, request.param, torch.device("cpu"))
    if found is None:
        pytest.skip("this machine has no C compiler")
    return found


def make_parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]


def make_gradients(step: int, dtype: torch.dtype) -> list[Tensor]:
    """Small ones at even steps, which are not clipped; those of the last parameter are zero."""
    generator = torch.Generator().manual_seed(step)
    scale = 1e-4 if step % 2 == 0 else 3.0
    gradients = [torch.randn(*shape, generator=generator) * scale for shape in SHAPES]
    return [gradient.to(dtype) for gradient in [*gradients[:-1], torch.zeros(SHAPES[-1])]]


def take_step(optimizer: ClippingAdamW, parameters: list[nn.Parameter], step: int) -> Tensor:
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * step
    norm = optimizer.clip(MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in parameters)
    return norm


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.zeros_like(parameter)
    optimizer = build_optimizer(model.parameters(), weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    values = {name: parameter.flatten()[0].item() for name, parameter in model.named_parameters()}
    assert round(values.pop("0.weight"), 6) == 0.95
    assert set(values.values()) == {1.0}


def test_native_steps_equal_torchs(kernels: Kernels) -> None:
    ours, theirs = make_parameters(), make_parameters()
    native = build_optimizer(ours, weight_decay=0.1, kernels=kernels)
    by_torch = build_optimizer(theirs, weight_decay=0.1)
    assert isinstance(native, NativeAdamW)
    for step in range(1, 7):
        for parameters, dtype in ((ours, kernels.dtype), (theirs, torch.float32)):
            for parameter, gradient in zip(
                parameters, make_gradients(step, kernels.dtype), strict=True
            ):
                parameter.grad = gradient.to(dtype)
        norms = take_step(native, ours, step), take_step(by_torch, theirs, step)
        assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-5)
        assert (float(norms[0]) > MAX_NORM) == (step % 2 == 1)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
            states = native.state[mine], by_torch.state[other]
            assert states[0].keys() == states[1].keys()
            for name, value in states[1].items():
                torch.testing.assert_close(states[0][name], value, rtol=2e-5, atol=1e-9)


def test_gradients_may_have_different_dtypes(kernels: Kernels) -> None:
    """As those of a head in float32 beside layers in bfloat16."""
    results = []
    for dtypes in ([kernels.dtype] * 4, [kernels.dtype, torch.float32] * 2):
        parameters = make_parameters()
        optimizer = build_optimizer(parameters, weight_decay=0.1, kernels=kernels)
        gradients = make_gradients(1, kernels.dtype)
        for parameter, gradient, dtype in zip(parameters, gradients, dtypes, strict=True):
            parameter.grad = gradient.to(dtype)
        norm = take_step(optimizer, parameters, 1)
        results.append([norm, *parameters])
    assert all(map(torch.equal, *results))


def test_parameters_without_gradients_stay(kernels: Kernels) -> None:
    """As layers that an architecture computes for some inputs only."""
    used, unused = make_parameters(), make_parameters()[1]
    alone = make_parameters()
    optimizer = build_optimizer([used[0], unused, *used[1:]], weight_decay=0.1, kernels=kernels)
    reference = build_optimizer(alone, weight_decay=0.1, kernels=kernels)
    before = unused.detach().clone()
    for step in (1, 2):
        for parameters in (used, alone):
            for parameter, gradient in zip(
                parameters, make_gradients(step, kernels.dtype), strict=True
            ):
                parameter.grad = gradient
        norms = take_step(optimizer, used, step), take_step(reference, alone, step)
        assert norms[0] == norms[1]
    assert torch.equal(unused, before)
    assert not optimizer.state[unused]
    assert all(map(torch.equal, used, alone))


def test_gradients_that_the_kernels_cannot_read_are_an_error(kernels: Kernels) -> None:
    parameters = make_parameters()
    optimizer = build_optimizer(parameters, weight_decay=0.1, kernels=kernels)
    for parameter, gradient in zip(parameters, make_gradients(1, torch.float16), strict=True):
        parameter.grad = gradient
    with pytest.raises(TypeError, match="float16"):
        optimizer.clip(MAX_NORM)


def test_a_native_step_does_not_depend_on_the_number_of_threads(kernels: Kernels) -> None:
    results, threads = [], torch.get_num_threads()
    for count in (1, 3):
        parameters = make_parameters()
        optimizer = build_optimizer(parameters, weight_decay=0.1, kernels=kernels)
        for parameter, gradient in zip(parameters, make_gradients(1, torch.float32), strict=True):
            parameter.grad = gradient
        torch.set_num_threads(count)
        try:
            results.append([take_step(optimizer, parameters, 1), *parameters])
        finally:
            torch.set_num_threads(threads)
    assert all(map(torch.equal, *results))


def test_a_native_step_continues_from_stored_moments(kernels: Kernels) -> None:
    """Those that a checkpoint has, whichever of both steps wrote them."""
    parameters = make_parameters()
    first = build_optimizer(parameters, weight_decay=0.1, kernels=kernels)
    continued = []
    for step in (1, 2, 3):
        for parameter, gradient in zip(
            parameters, make_gradients(step, torch.float32), strict=True
        ):
            parameter.grad = gradient
        if step == 3:
            continued = copy.deepcopy(parameters)
            states = [copy.deepcopy(first.state[parameter]) for parameter in parameters]
        take_step(first, parameters, step)
    second = build_optimizer(continued, weight_decay=0.1, kernels=kernels)
    for parameter, gradient, state in zip(
        continued, make_gradients(3, torch.float32), states, strict=True
    ):
        parameter.grad = gradient
        second.state[parameter].update(state)
    take_step(second, continued, 3)
    assert all(map(torch.equal, parameters, continued))


def test_parameters_in_other_dtypes_are_left_to_torch(kernels: Kernels) -> None:
    parameters = [nn.Parameter(torch.ones(3, dtype=torch.float64))]
    assert not isinstance(
        build_optimizer(parameters, weight_decay=0.0, kernels=kernels), NativeAdamW
    )


def test_gradients_of_several_processes_are_wide(kernels: Kernels) -> None:
    for are_wide, dtype in ((True, torch.float32), (False, None)):
        parameters = make_parameters()
        build_optimizer(parameters, weight_decay=0.1, kernels=kernels, are_wide=are_wide)
        assert {parameter.grad_dtype for parameter in parameters} == {dtype}
