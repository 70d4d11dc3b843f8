"""The model below the heads: any encoder of transformers, or a causal model without its head."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import logging
from transformers.utils.logging import disable_progress_bar

from worker.encoding.tokenizer import PaddedBatch

# Up to this many tokens plain products with a softmax are faster on a CPU than torch's fused
# attention, whose backward pass is far from its limit there on short rows.
MAX_EAGER_LENGTH = 256


def load_backbone(
    folder: Path, *, dtype: torch.dtype, device: torch.device, max_length: int
) -> PreTrainedModel:
    """The model in `folder`, frozen and in evaluation mode, for texts of up to `longest` tokens."""
    disable_progress_bar()
    # It reports weights that are not needed here, such as a head of another task.
    logging.set_verbosity_error()
    plain = device.type == "cpu" and max_length <= MAX_EAGER_LENGTH
    model: PreTrainedModel = AutoModel.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation="eager" if plain else "sdpa",
    )
    # A causal model would keep the keys and values of every layer for tokens that never come.
    model.config.use_cache = False
    model.requires_grad_(False)
    model.train(False)
    placed: PreTrainedModel = model.to(device)  # type: ignore[arg-type]
    return placed


def read_hidden_size(folder: Path) -> int:
    """The length of the model's hidden states."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return int(config.get_text_config().hidden_size)


def find_linear_layers(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """The layers that an adapter changes, by name. A pooler's output is used by no task here."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "pooler" not in name
    }


def full_tuning_parameter_names(model: PreTrainedModel) -> set[str]:
    """The weights that full fine-tuning changes: all but the pooler's and those of embeddings,
    whose rows are mostly never seen."""
    tables = {id(p) for p in model.get_input_embeddings().parameters()}
    return {
        name
        for name, parameter in model.named_parameters()
        if id(parameter) not in tables and "embeddings" not in name and "pooler" not in name
    }


def compute_hidden_states(model: PreTrainedModel, batch: PaddedBatch) -> Tensor:
    """The last layer's output [rows, length, width]."""
    inputs = {"input_ids": batch.ids}
    # A mask costs passes over the attention scores; rows of one length need none.
    if not bool(batch.mask.all()):
        inputs["attention_mask"] = batch.mask.long()
    if batch.token_type_ids is not None:
        inputs["token_type_ids"] = batch.token_type_ids
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden


def pool(hidden: Tensor, mask: Tensor, *, causal: bool) -> Tensor:
    """One vector a row in float32 [rows, width]: the tokens' mean, or the last token's of a causal
    model, which alone has seen all others."""
    hidden = hidden.float()
    if causal:
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def l2_normalize(vectors: Tensor) -> Tensor:
    """Vectors of length 1, whose product is their cosine."""
    return functional.normalize(vectors, dim=-1)
