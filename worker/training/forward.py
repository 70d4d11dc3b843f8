"""How a model gives the losses of tokens: one interface, a fast way and a way for every model."""

from typing import Protocol

import torch
from peft import PeftModel
from torch import Tensor

from worker.training import llama
from worker.training.batching import MicroBatch
from worker.training.losses import logits_loss


class Scorer(Protocol):
    """A causal model with an adapter."""

    # Whether the tokens that all rows begin with may stand in a micro-batch only once.
    shares_beginnings: bool

    def token_losses(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Negative log-probability of each label [N] in float32, and whether it was likeliest."""
        ...


class GenericScorer:
    """Any causal model of transformers, by its own forward pass.

    The rows of a block are filled up to one length. The filling stands behind what counts, where
    causal attention does not look, so that no mask is needed.
    """

    shares_beginnings = False

    def __init__(self, model: PeftModel) -> None:
        self._model = model

    def token_losses(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        slots = batch.collect[batch.predicting]
        losses, correct = [], []
        first = 0
        for block in batch.blocks:
            here = (slots >= first) & (slots < first + block.numel())
            logits = self._model(input_ids=batch.ids[block], use_cache=False).logits
            scored = logits_loss(logits.flatten(0, 1)[slots[here] - first], batch.labels[here])
            losses.append(scored[0])
            correct.append(scored[1])
            first += block.numel()
        # Rows lie in the blocks in their order, and so do their labels.
        return torch.cat(losses), torch.cat(correct)


def choose_scorer(model: PeftModel) -> Scorer:
    """The fast forward pass where it computes what the model computes, else the model's own."""
    return llama.LlamaScorer(model) if llama.fits(model) else GenericScorer(model)
