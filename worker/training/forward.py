"""How a model gives the losses of tokens: one interface, a fast way and a way for every model."""

from typing import Protocol

import torch
from peft import PeftModel
from torch import Tensor

from worker.training import llama
from worker.training.batching import MicroBatch
from worker.training.losses import cross_entropy_of_logits


class CausalLM(Protocol):
    """A causal model with an adapter."""

    # Whether the tokens that all rows begin with may stand in a micro-batch only once.
    supports_shared_prefix: bool

    def token_nll(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Negative log-probability of each label [N] in float32, and whether it was likeliest."""
        ...


class TransformersCausalLM:
    """Any causal model of transformers, by its own forward pass.

    The rows of a block are filled up to one length. The filling stands behind what counts, where
    causal attention does not look, so that no mask is needed.
    """

    supports_shared_prefix = False

    def __init__(self, model: PeftModel) -> None:
        self._model = model

    def token_nll(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        slots = batch.unpad_index[batch.logit_positions]
        losses, correct = [], []
        first = 0
        for block in batch.pad_indices:
            here = (slots >= first) & (slots < first + block.numel())
            logits = self._model(input_ids=batch.ids[block], use_cache=False).logits
            scored = cross_entropy_of_logits(
                logits.flatten(0, 1)[slots[here] - first], batch.labels[here]
            )
            losses.append(scored[0])
            correct.append(scored[1])
            first += block.numel()
        # Rows lie in the blocks in their order, and so do their labels.
        return torch.cat(losses), torch.cat(correct)


def choose_causal_lm(model: PeftModel) -> CausalLM:
    """The fast forward pass where it computes what the model computes, else the model's own."""
    return llama.LlamaCausalLM(model) if llama.supports(model) else TransformersCausalLM(model)
