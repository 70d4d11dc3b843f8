"""Checks of the options of encoder methods: those that would contradict or have no effect."""

from collections.abc import Iterator
from typing import Any

from app.db.tables import Job
from app.jobs.file_checks import LABELLED_METHODS

# Methods whose models are tuned in full unless a job says otherwise.
FULL_TUNING_METHODS = ("token_classification", "question_answering")
ADAPTER_OPTIONS = ("lora_rank", "lora_alpha", "lora_dropout", "target_modules")


def find_unused_encoder_options(
    chosen: dict[str, Any], source: Job | None, method: str
) -> Iterator[tuple[str, str]]:
    """Yield the name of each option that would have no effect, and why.

    `source` is the job that made the model to continue from, if any.
    """
    yield from _find_contradictions(chosen)
    yield from _find_options_of_labels(chosen, method)
    if _choose_tuning(chosen, source, method) != "full":
        return
    for name in ADAPTER_OPTIONS:
        if chosen.get(name, "auto") != "auto":
            yield (
                name,
                f"This job trains all layers (tuning 'full'), so it has no adapter that {name} "
                f"could shape. Omit {name}, or choose tuning 'lora'.",
            )


def _find_contradictions(chosen: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names that all methods share whose value is not that of the encoders' own name."""
    full = chosen.get("full", "auto")
    if full != "auto" and full != (chosen["tuning"] == "full"):
        yield (
            "full",
            f"'full' and 'tuning' are two names of one option, and tuning is '{chosen['tuning']}'. "
            "Omit one of them.",
        )
    length = chosen.get("max_seq_length", "auto")
    if length not in ("auto", chosen["max_length"]):
        yield (
            "max_seq_length",
            "'max_seq_length' and 'max_length' are two names of one option, and max_length is "
            f"{chosen['max_length']}. Omit one of them.",
        )


def _find_options_of_labels(chosen: dict[str, Any], method: str) -> Iterator[tuple[str, str]]:
    if method in LABELLED_METHODS:
        return
    allowed = " and ".join(LABELLED_METHODS)
    if chosen.get("class_weights") == "balanced":
        yield (
            "class_weights",
            f"Method '{method}' has no classes to weight; class_weights is for {allowed}. Omit it.",
        )
    if chosen.get("label_smoothing", "auto") not in ("auto", 0):
        yield (
            "label_smoothing",
            f"Method '{method}' has no classes over which probability could be spread; "
            f"label_smoothing is for {allowed}. Omit it.",
        )


def _choose_tuning(chosen: dict[str, Any], source: Job | None, method: str) -> str:
    """The tuning of the job: as requested, of the model to continue from, or the method's own."""
    if chosen["tuning"] != "auto":
        return str(chosen["tuning"])
    before = {} if source is None else source.resolved_hyperparameters or {}
    return str(before.get("tuning", "full" if method in FULL_TUNING_METHODS else "lora"))
