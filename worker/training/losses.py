"""Token-level cross-entropy, fused with the language-model head."""

from typing import Any

import torch
from torch import Tensor

# Rows of logits materialized at once: 25 MB in float32 with a vocabulary of 49,152 tokens.
LOGITS_CHUNK = 128


class _FusedLinearCrossEntropy(torch.autograd.Function):
    """Linear head, softmax and gradient in chunks, so that the full logits are never materialized.

    The gradient is computed in the forward pass, while a chunk's logits exist: a token's loss
    depends only on its own hidden state, so the backward pass only scales it. The same idea as
    fused linear cross-entropy in Liger Kernel (arXiv:2410.10989) and cut cross-entropy.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        correct = torch.empty(len(labels), dtype=torch.bool, device=hidden.device)
        needs_gradient = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if needs_gradient else None
        for start in range(0, len(labels), LOGITS_CHUNK):
            chunk = slice(start, start + LOGITS_CHUNK)
            chunk_labels = labels[chunk]
            row = torch.arange(len(chunk_labels), device=chunk_labels.device)
            logits = hidden[chunk] @ weight.T
            correct[chunk] = logits.argmax(-1) == chunk_labels
            logprobs = logits.float().log_softmax(-1)
            losses[chunk] = -logprobs[row, chunk_labels]
            if smoothing:
                losses[chunk].lerp_(-logprobs.mean(-1), smoothing)
            if gradient is not None:
                probabilities = logprobs.exp_()
                probabilities[row, chunk_labels] -= 1 - smoothing
                if smoothing:
                    probabilities -= smoothing / len(weight)
                gradient[chunk] = probabilities.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(correct)
        return losses, correct

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0][:, None].to(gradient.dtype), None, None, None


def fused_linear_cross_entropy(
    hidden: Tensor, weight: Tensor, labels: Tensor, *, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Compute each label's negative log-likelihood, and "it was the argmax".

    hidden [N, d], weight [V, d] (frozen), labels [N] -> losses [N] in float32, correct [N].
    `smoothing` is the share of the target's probability that is spread over the vocabulary.
    """
    losses, correct = _FusedLinearCrossEntropy.apply(hidden, weight, labels, smoothing)
    return losses, correct


def cross_entropy_of_logits(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Compute the same from logits [N, V], for heads that are not a plain linear layer."""
    losses = torch.nn.functional.cross_entropy(
        logits.float(), labels, reduction="none", label_smoothing=smoothing
    )
    return losses, logits.argmax(-1) == labels
