"""Explanations of a job's numbers: which were requested, and by which rule the others were chosen.

The rules are in `app.recipes`.
"""

from collections.abc import Mapping
from typing import Any

from app.job_estimates.schemas import ResolvedValue, ValueSource

CHAT_REASONS = {
    "n_epochs": "3 passes; more for fewer than 34 examples, fewer for more than 8,333",
    "batch_size": "0.2 % of the rows, examples or packed sequences, up to 8 if 40 steps are left",
}
ENCODER_REASONS = {
    "n_epochs": "2 to 4 passes by the method; more for small files, up to 2,000 examples in all",
    "batch_size": "32, or 64 for embeddings; less if an epoch would have fewer than 15 steps",
    "tuning": "all layers for tags and answers, else an adapter",
    "weight_decay": "0.01 if all layers are trained, else none",
}
INHERITED_REASON = "that of the model to continue from"
REASONS = {
    "learning_rate_multiplier": "1: the learning rate as the rule has it",
    "learning_rate": "by the model's family and width; a tenth of it for DPO",
    "base_learning_rate": "by the model's family and width; a tenth of it for DPO",
    "lr_schedule": "a cosine to a tenth of the rate",
    "warmup_ratio": "the rate rises over the first 5 % of the steps",
    "max_grad_norm": "gradients are clipped to norm 1",
    "weight_decay": "none for adapters",
    "max_seq_length": "the model's context length",
    "max_length": "the model's context length",
    "class_weights": "none: all labels count the same",
    "long_rows": "truncate; drop for DPO, whose truncated pairs would say something else",
    "keep": "best by the validation file, if there is one",
    "lora_rank": "16 on all linear layers",
    "lora_alpha": "32, for any rank",
    "beta": "0.1, as in the paper's experiments",
}


def explain(
    requested: Mapping[str, Any],
    resolved: Mapping[str, Any],
    *,
    method: str,
    examples: int,
    rows: int,
    inherited: Mapping[str, Any],
) -> list[ResolvedValue]:
    """List the resolved values; each has the reason if it was not requested.

    Packed examples are fewer `rows`, which batches count. `inherited` are those of the model that
    the job continues from.
    """
    of_method = CHAT_REASONS if method in ("supervised", "dpo") else ENCODER_REASONS
    reasons = {**REASONS, **of_method}
    values: list[ResolvedValue] = []
    for name, value in resolved.items():
        is_requested = requested.get(name, "auto") not in ("auto", None)
        reason = None if is_requested else reasons.get(name)
        if name in inherited:
            reason = INHERITED_REASON
        elif reason is not None and name in of_method:
            counted = rows if name == "batch_size" else examples
            reason = f"{reason} ({counted:,} rows)"
        source = ValueSource.REQUEST if is_requested else ValueSource.AUTO
        values.append(ResolvedValue(name=name, value=value, source=source, reason=reason))
    return values
