"""Linear cross-entropy equals torch's, in losses and gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from worker.training.fused_ops import TorchFusedOps
from worker.training.losses import LOGITS_CHUNK, get_logits_chunk, linear_cross_entropy
from worker.training.workspace import Workspace


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("count", [1, LOGITS_CHUNK, LOGITS_CHUNK + 3])
def test_losses_and_gradients_equal_cross_entropy(count: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(count)
    weight = torch.randn(50, 8, generator=generator)
    labels = torch.randint(0, 50, (count,), generator=generator)
    hidden = torch.randn(count, 8, generator=generator)
    theirs = hidden.clone().requires_grad_()
    gradient = torch.empty_like(hidden)
    memory = Workspace(torch.device("cpu"))

    losses, correct = linear_cross_entropy(
        hidden,
        weight,
        labels,
        ops=TorchFusedOps(),
        memory=memory,
        smoothing=smoothing,
        gradient=gradient,
    )
    logits = theirs @ weight.T
    expected = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    expected.sum().backward()

    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient, theirs.grad)
    assert torch.equal(correct, logits.argmax(-1) == labels)


def test_a_gpu_computes_more_logits_at_once_but_no_more_than_fit() -> None:
    assert get_logits_chunk(49_152, torch.device("cpu")) == LOGITS_CHUNK
    assert get_logits_chunk(49_152, torch.device("cuda")) == 2688
    assert get_logits_chunk(128_256, torch.device("cuda")) == 1024
    assert get_logits_chunk(10**8, torch.device("cuda")) == LOGITS_CHUNK
