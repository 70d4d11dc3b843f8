"""Forward passes of causal models: the interface, and its implementation by transformers."""

from typing import Protocol

import torch
from peft import PeftModel
from torch import Tensor

from worker.training import llama
from worker.training.batching import MicroBatch
from worker.training.losses import cross_entropy_of_logits


class CausalLM(Protocol):
    """Interface of a causal language model with an adapter."""

    # True if micro-batches may store a common prefix of all rows only once.
    supports_shared_prefix: bool

    def token_nll(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Compute each label's NLL [N] in float32, and "it was the argmax" [N]."""
        ...


class TransformersCausalLM:
    """Any causal model of transformers, through its own forward pass.

    The rows of a block are right-padded. Causal attention never looks at the padding, so no mask is
    needed.
    """

    supports_shared_prefix = False

    def __init__(self, model: PeftModel) -> None:
        self._model = model

    def token_nll(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        slots = batch.unpad_index[batch.logit_positions]
        losses, correct = [], []
        block_start = 0
        for block in batch.pad_indices:
            in_block = (slots >= block_start) & (slots < block_start + block.numel())
            logits = self._model(input_ids=batch.ids[block], use_cache=False).logits
            nll_and_correct = cross_entropy_of_logits(
                logits.flatten(0, 1)[slots[in_block] - block_start], batch.labels[in_block]
            )
            losses.append(nll_and_correct[0])
            correct.append(nll_and_correct[1])
            block_start += block.numel()
        # Blocks keep the order of the rows, and so that of their labels.
        return torch.cat(losses), torch.cat(correct)


def choose_causal_lm(model: PeftModel) -> CausalLM:
    """Choose the optimized forward pass if it supports the model, else the model's own."""
    return llama.LlamaCausalLM(model) if llama.supports(model) else TransformersCausalLM(model)
