"""Pooling: how the states of a text's tokens become its vector, as the base model was trained."""

import json
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from app.catalog import ModelKind
from worker.model_cache import ModelUnavailable

Pooling = Literal["mean", "cls", "last"]

# sentence-transformers' names; before version 5.2 each was a field of its own.
POOLING_MODES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
OLD_FIELDS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def read_pooling(folder: Path, kind: ModelKind) -> Pooling:
    """Read the pooling of the base model in `folder` from sentence-transformers' config.

    A model without one is no sentence encoder: encoders then take the mean, and causal models the
    last token, which alone attends to all others. Raises ModelUnavailable.
    """
    if kind == ModelKind.CAUSAL:
        return "last"
    paths = sorted(folder.glob("*_Pooling/config.json"))
    if not paths:
        return "mean"
    modes = _read_modes(json.loads(paths[0].read_bytes()))
    if len(modes) != 1 or modes[0] not in POOLING_MODES:
        raise ModelUnavailable(
            f"The base model pools by {' and '.join(modes) or 'nothing'}; only "
            f"{', '.join(POOLING_MODES)} are supported."
        )
    return POOLING_MODES[modes[0]]


def _read_modes(config: dict[str, object]) -> list[str]:
    mode = config.get("pooling_mode")
    if isinstance(mode, str):
        return [mode]
    if isinstance(mode, list):
        return list(map(str, mode))
    return [name for field, name in OLD_FIELDS.items() if config.get(field)]


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool hidden states [rows, length, width] into one float32 vector per row [rows, width].

    Rows are padded at their end, so that the first token is each row's [CLS].
    """
    hidden = hidden.float()
    match pooling:
        case "cls":
            return hidden[:, 0]
        case "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
        case "mean":
            weights = mask[..., None].to(hidden.dtype)
            return (hidden * weights).sum(1) / weights.sum(1)
