"""NEFTune: uniform noise on the embeddings of a training step.

Jain et al. 2023, "NEFTune: Noisy Embeddings Improve Instruction Finetuning", arXiv:2310.05914.
"""

import torch
from torch import Tensor


def add_embedding_noise(embeddings: Tensor, lengths: Tensor, alpha: float) -> Tensor:
    """Add noise from ±alpha / sqrt(length · width) to `embeddings` [..., width].

    `lengths` [..., 1] has the tokens of each token's row.
    """
    bounds = alpha / (lengths.float() * embeddings.shape[-1]).sqrt()
    noise = torch.rand_like(embeddings, dtype=torch.float32).mul_(2).sub_(1).mul_(bounds)
    return embeddings + noise.to(embeddings.dtype)


def row_lengths(positions: Tensor) -> Tensor:
    """Count the tokens of each token's row in a packed stream of positions [T]: [T, 1]."""
    starts = (positions == 0).nonzero().flatten()
    ends = torch.cat([starts[1:], starts.new_tensor([len(positions)])])
    return (ends - starts).repeat_interleave(ends - starts)[:, None]
