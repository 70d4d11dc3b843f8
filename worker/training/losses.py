"""Token-level cross-entropy, fused with the language-model head."""

import torch
from torch import Tensor

from worker.training.fused_ops import FusedOps
from worker.training.workspace import Workspace

# Rows of logits materialized at once on a CPU: 25 MB in float32 with a vocabulary of 49,152 tokens.
LOGITS_CHUNK = 128
# On other devices, whose products must be larger, 0.5 GB in float32.
LOGITS_ON_DEVICE = 2**27


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    ops: FusedOps,
    memory: Workspace,
    smoothing: float = 0.0,
    gradient: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute each label's negative log-likelihood, and "it was the argmax".

    hidden [N, d], weight [V, d] (frozen), labels [N] -> losses [N] in float32, correct [N].
    `hidden` and `gradient` may have further rows, of padding, which get the gradient zero.
    `smoothing` is the share of the target's probability that is spread over the vocabulary.

    Logits are computed in chunks, so that they never exist as a whole, and so is each loss's
    `gradient` [N, d], if that is given, while a chunk's logits exist: a token's loss depends on its
    own hidden state only, so that the backward pass only scales it. The same idea as fused linear
    cross-entropy in Liger Kernel (arXiv:2410.10989) and cut cross-entropy.
    """
    wide = torch.promote_types(hidden.dtype, torch.float32)
    losses = torch.empty(len(labels), dtype=wide, device=hidden.device)
    correct = torch.empty(len(labels), dtype=torch.bool, device=hidden.device)
    rows = get_logits_chunk(len(weight), hidden.device)
    for start in range(0, len(labels), rows):
        chunk = slice(start, start + rows)
        count = len(labels[chunk])
        with memory.released_after():
            logits = memory.empty(len(hidden[chunk]), len(weight), dtype=hidden.dtype)
            torch.mm(hidden[chunk], weight.T, out=logits)
            ops.cross_entropy(
                logits[:count], labels[chunk], smoothing, losses[chunk], correct[chunk],
                has_gradient=gradient is not None,
            )  # fmt: skip
            if gradient is not None:
                torch.mm(logits, weight, out=gradient[chunk])
    if gradient is not None:
        gradient[len(labels) :].zero_()
    return losses, correct


def get_logits_chunk(vocab_size: int, device: torch.device) -> int:
    """Get the number of labels whose logits are computed at once."""
    if device.type == "cpu":
        return LOGITS_CHUNK
    return LOGITS_CHUNK * max(1, LOGITS_ON_DEVICE // (LOGITS_CHUNK * vocab_size))


def cross_entropy_of_logits(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Compute the same from logits [N, V], for heads that are not a plain linear layer."""
    losses = torch.nn.functional.cross_entropy(
        logits.float(), labels, reduction="none", label_smoothing=smoothing
    )
    return losses, logits.argmax(-1) == labels
