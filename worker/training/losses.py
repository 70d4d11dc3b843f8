"""Cross-entropy of tokens, straight from the last hidden states."""

from typing import Any

import torch
from torch import Tensor

# Rows of logits alive at once: with 49,152 tokens in the vocabulary, 25 MB in float32.
LOGITS_CHUNK = 128


class _FusedLinearCrossEntropy(torch.autograd.Function):
    """The head's product, softmax and gradient in one go, so that logits never exist in full.

    The gradient is made in the forward pass, while the logits are at hand: the loss of one token
    depends on its own hidden state alone, so the backward pass only scales it.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        correct = torch.empty(len(labels), dtype=torch.bool, device=hidden.device)
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if wanted else None
        for start in range(0, len(labels), LOGITS_CHUNK):
            part = slice(start, start + LOGITS_CHUNK)
            label = labels[part]
            row = torch.arange(len(label), device=label.device)
            logits = hidden[part] @ weight.T
            correct[part] = logits.argmax(-1) == label
            log_probabilities = logits.float().log_softmax(-1)
            losses[part] = -log_probabilities[row, label]
            if gradient is not None:
                probabilities = log_probabilities.exp_()
                probabilities[row, label] -= 1
                gradient[part] = probabilities.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(correct)
        return losses, correct

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0][:, None].to(gradient.dtype), None, None


def fused_linear_cross_entropy(
    hidden: Tensor, weight: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Negative log-probability of each label, and whether it was the likeliest token.

    hidden [N, d], weight [V, d] (frozen), labels [N] -> losses [N] in float32, correct [N].
    """
    losses, correct = _FusedLinearCrossEntropy.apply(hidden, weight, labels)
    return losses, correct


def cross_entropy_of_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same from logits [N, V], for models whose head is more than one product."""
    losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
    return losses, logits.argmax(-1) == labels
