"""Fused linear cross-entropy equals torch's, in losses and gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from worker.training.losses import LOGITS_CHUNK, fused_linear_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("count", [1, LOGITS_CHUNK, LOGITS_CHUNK + 3])
def test_losses_and_gradients_equal_cross_entropy(count: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(count)
    weight = torch.randn(50, 8, generator=generator)
    labels = torch.randint(0, 50, (count,), generator=generator)
    upstream = torch.rand(count, generator=generator)
    ours = torch.randn(count, 8, generator=generator, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()

    losses, correct = fused_linear_cross_entropy(ours, weight, labels, smoothing=smoothing)
    losses.backward(upstream)
    logits = theirs @ weight.T
    expected = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    expected.backward(upstream)

    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(correct, logits.argmax(-1) == labels)


def test_no_gradient_is_computed_without_need() -> None:
    hidden, weight = torch.randn(4, 8), torch.randn(50, 8)
    losses, _ = fused_linear_cross_entropy(hidden, weight, torch.tensor([1, 2, 3, 4]))
    assert not losses.requires_grad
