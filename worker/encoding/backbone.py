"""Backbone of an encoder: any encoder of transformers, or a causal model without its head."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import logging
from transformers.utils.logging import disable_progress_bar

from worker.encoding.bert_files import Bert
from worker.encoding.tokenizer import PaddedBatch
from worker.light_imports import import_models

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What training may have.
Backbone: TypeAlias = "Bert | PreTrainedModel"

# Up to this many tokens eager attention is faster on a CPU than torch's fused kernel: the kernel's
# backward pass is inefficient for short rows.
MAX_EAGER_LENGTH = 256


def load_backbone(
    folder: Path, *, dtype: torch.dtype, device: torch.device, max_length: int
) -> "PreTrainedModel":
    """Load the model in `folder`, frozen and in evaluation mode, for texts up to `max_length`."""
    import_models()
    from transformers import AutoModel

    disable_progress_bar()
    # transformers warns about weights that are not used here, such as the head of another task.
    logging.set_verbosity_error()
    is_eager = device.type == "cpu" and max_length <= MAX_EAGER_LENGTH
    model: PreTrainedModel = AutoModel.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="eager" if is_eager else "sdpa",
    )
    # Without generation, a causal model's KV cache is useless.
    model.config.use_cache = False
    model.requires_grad_(False)
    model.train(False)
    on_device: PreTrainedModel = model.to(device)  # type: ignore[arg-type]
    return on_device


def read_shape(folder: Path) -> tuple[int, str]:
    """Read the hidden size and the model type from the model's config."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text_config = config.get_text_config()
    return int(text_config.hidden_size), str(text_config.model_type)


def find_linear_layers(model: Backbone) -> dict[str, nn.Linear]:
    """Find the layers to which LoRA is added, by name; no pooler, which no task uses."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "pooler" not in name
    }


def list_full_tuning_parameter_names(model: Backbone) -> set[str]:
    """List the parameters that full fine-tuning trains.

    These are all except the pooler's, and the embeddings', most of whose rows never occur in a
    training file.
    """
    embedding_ids = {id(p) for p in model.get_input_embeddings().parameters()}
    return {
        name
        for name, parameter in model.named_parameters()
        if id(parameter) not in embedding_ids and "embeddings" not in name and "pooler" not in name
    }


def compute_hidden_states(model: "PreTrainedModel", batch: PaddedBatch) -> Tensor:
    """Compute the output of the last layer [rows, length, width]."""
    inputs = {"input_ids": batch.ids}
    # A mask costs extra passes over the attention scores; rows of equal length need none.
    if not bool(batch.mask.all()):
        inputs["attention_mask"] = batch.mask.long()
    if batch.token_type_ids is not None:
        inputs["token_type_ids"] = batch.token_type_ids
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden


def l2_normalize(vectors: Tensor) -> Tensor:
    """Normalize vectors to length 1, so that dot products are cosines."""
    return functional.normalize(vectors, dim=-1)
