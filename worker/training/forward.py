"""Forward passes of causal models: the interface, and its implementation by transformers."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from worker.training import llama
from worker.training.adapted_llama import AdaptedModel
from worker.training.batching import MicroBatch, Row, collate
from worker.training.errors import user_error
from worker.training.losses import cross_entropy_of_logits
from worker.training.neftune import add_embedding_noise
from worker.training.recomputation import recompute_layers


class CausalLM(Protocol):
    """Interface of a causal language model with an adapter."""

    # True if micro-batches may store a prefix that rows share only once.
    supports_shared_prefix: bool

    @property
    def needs_padding(self) -> bool:
        """True if micro-batches must pad their rows to blocks of equal length."""
        ...

    def token_nll(
        self, batch: MicroBatch, *, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Compute each label's NLL [N] in float32, and "it was the argmax" [N]."""
        ...

    def use_float32(self) -> None:
        """Compute in float32 from now on, with the weights as they are: to measure, not to train.

        The numbers are then those of the weights alone, without rounding of the model's dtype.
        """
        ...

    def count_float32_bytes(self) -> int:
        """Count the memory that `use_float32` takes in addition."""
        ...


def collate_for(model: CausalLM, rows: Sequence[Row], device: torch.device) -> MicroBatch:
    """Pack rows, sorted by length, into a micro-batch as the model needs it."""
    return collate(
        rows,
        device,
        share_prefix=model.supports_shared_prefix,
        pad_rows=model.needs_padding,
    )


class TransformersCausalLM:
    """Any causal model of transformers, through its own forward pass.

    The rows of a block are right-padded. Causal attention never looks at the padding, so no mask is
    needed.
    """

    supports_shared_prefix = False
    needs_padding = True

    def __init__(
        self,
        model: AdaptedModel,
        *,
        neftune_alpha: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        self._model = model
        if gradient_checkpointing and not recompute_layers(model):
            raise user_error(
                "invalid_gradient_checkpointing",
                "The base model's architecture has no layers whose activations can be computed "
                "again. Set gradient_checkpointing to false, and use a smaller max_seq_length.",
                "gradient_checkpointing",
            )
        self._dropouts = [
            module
            for name, module in model.named_modules()
            if "lora_dropout" in name and isinstance(module, nn.Dropout)
        ]
        if neftune_alpha:
            base: Any = model.get_base_model()
            embeddings = base.get_input_embeddings()
            embeddings.register_forward_hook(partial(_add_noise, neftune_alpha))

    def use_float32(self) -> None:
        self._model.float()

    def count_float32_bytes(self) -> int:
        width = torch.float32.itemsize
        return sum(p.numel() * (width - p.itemsize) for p in self._model.parameters())

    def token_nll(
        self, batch: MicroBatch, *, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        for dropout in self._dropouts:
            dropout.train(torch.is_grad_enabled())
        slots = batch.unpad_index[batch.logit_positions]
        losses, correct = [], []
        block_start = 0
        for block in batch.pad_indices:
            in_block = (slots >= block_start) & (slots < block_start + block.numel())
            logits = self._model(input_ids=batch.ids[block], use_cache=False).logits
            nll_and_correct = cross_entropy_of_logits(
                logits.flatten(0, 1)[slots[in_block] - block_start],
                batch.labels[in_block],
                smoothing=label_smoothing,
            )
            losses.append(nll_and_correct[0])
            correct.append(nll_and_correct[1])
            block_start += block.numel()
        # Blocks keep the order of the rows, and so that of their labels.
        return torch.cat(losses), torch.cat(correct)


def _add_noise(
    alpha: float, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    """Add NEFTune's noise to the embeddings of a padded block, whose rows have one length."""
    if not torch.is_grad_enabled():
        return output
    lengths = torch.full_like(inputs[0], inputs[0].shape[1])[..., None]
    return add_embedding_noise(output, lengths, alpha)


def choose_causal_lm(
    model: AdaptedModel,
    *,
    neftune_alpha: float = 0.0,
    gradient_checkpointing: bool = False,
    kernels: Path | None = None,
    multiplies_int8: bool = False,
) -> CausalLM:
    """Choose the step written by hand if it supports the model, else the model's own.

    The former uses native operations if there is a folder of `kernels`, and products in int8 if
    these have some.
    """
    if not llama.supports(model):
        return TransformersCausalLM(
            model, neftune_alpha=neftune_alpha, gradient_checkpointing=gradient_checkpointing
        )
    return llama.LlamaCausalLM(
        model,
        neftune_alpha=neftune_alpha,
        gradient_checkpointing=gradient_checkpointing,
        kernels=kernels,
        multiplies_int8=multiplies_int8,
    )
