"""Checks of the options of chat methods: those that could not be trained, or not be served."""

from collections.abc import Iterator
from typing import Any

from app.catalog import CatalogModel
from app.db.tables import Job
from app.recipes.chat import LORA_RANK, SHARDED_QUANTIZATION, BaseQuantization

# One base in memory serves the adapters of all its models; weights of its own would be a whole
# model per job.
FULL_TUNING_REASON = (
    "Chat models are trained as adapters of a shared base model, and full weights could not be "
    "served beside them. Omit 'full', and use lora_rank 64 or more for more capacity; or train all "
    "weights elsewhere and add the result as a base model with 'luthier models add'."
)
TRUNCATED_PAIRS_REASON = (
    "A pair of truncated outputs is not the preference that the file states. Use 'drop' or "
    "'error', or raise max_seq_length."
)


def find_impossible_chat_options(
    chosen: dict[str, Any],
    base: CatalogModel,
    source: Job | None,
    method: str,
    *,
    is_base_sharded: bool,
) -> Iterator[tuple[str, str]]:
    """Yield the name of each option with which the job would fail or its model be useless, and why.

    `source` is the job that made the model to continue from, if any, and `is_base_sharded` is true
    if training divides base models among processes.
    """
    if chosen.get("full") is True:
        yield "full", FULL_TUNING_REASON
    if method == "dpo" and chosen.get("long_rows") == "truncate":
        yield "long_rows", TRUNCATED_PAIRS_REASON
    if is_base_sharded and chosen.get("quantization") == BaseQuantization.NF4:
        yield "quantization", SHARDED_QUANTIZATION
    most = base.max_lora_rank
    inherited = None if source is None else (source.resolved_hyperparameters or {}).get("lora_rank")
    rank = chosen.get("lora_rank", "auto")
    rank = inherited or LORA_RANK if rank == "auto" else rank
    if most is not None and rank > most:
        advice = (
            f"Use a lora_rank of at most {most}"
            if rank != inherited
            else f"The model to continue from has rank {rank}: start from the base model"
        )
        yield (
            "lora_rank",
            f"The engine of model {base.id} serves adapters up to rank {most}. {advice}, or ask "
            "the operator to raise max_lora_rank.",
        )
