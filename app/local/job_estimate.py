"""Estimate of a job on a training file, for the terminal; the file is uploaded and deleted."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.local.api_client import ApiClient, ApiFailed

SECONDS_PER_MINUTE = 60
BYTES_PER_GIB = 2**30
MIN_WHOLE_RATE = 10


def estimate_file(
    api: ApiClient,
    file: Path,
    *,
    model: str,
    method: str | None,
    hyperparameters: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Estimate a job on a file. Raises ApiFailed."""
    file_id = api.upload(file)
    try:
        body: dict[str, Any] = {"model": model, "training_file": file_id}
        if method is not None or hyperparameters:
            name = method or "supervised"
            body["method"] = {"type": name, name: {"hyperparameters": hyperparameters}}
        estimate: Mapping[str, Any] = api.post("/v1/fine_tuning/jobs/estimate", body)
    finally:
        api.delete(f"/v1/files/{file_id}")
    if estimate["problem"] is not None:
        raise ApiFailed(estimate["problem"]["message"])
    return estimate


def format_estimate(estimate: Mapping[str, Any]) -> Iterator[str]:
    """Format an estimate as lines."""
    training, rate = estimate["training"], estimate["training"]["rate"]
    sampled = training["measured_examples"] < training["examples"]
    about = "about " if sampled else ""
    yield f"Training {estimate['model']} by {estimate['method']}:"
    yield (
        f"  {about}{training['rows']:,} rows, {training['tokens_per_epoch']:,} tokens an epoch, "
        f"{training['trained_tokens']:,} in all, {training['steps']:,} steps"
    )
    if training["left_out_examples"] or training["truncated_examples"]:
        yield (
            f"  of {training['measured_examples']:,} examples {training['left_out_examples']:,} "
            f"are left out and {training['truncated_examples']:,} truncated"
        )
    source = (
        f"{rate['jobs']} recent job(s)"
        if rate["source"] == "recent_jobs"
        else "the speed of this machine"
    )
    gigabytes = training["peak_memory_bytes"] / BYTES_PER_GIB
    yield (
        f"  about {_format_seconds(training['seconds'])} at "
        f"{format_rate(rate['tokens_per_second'])} tokens/s (by {source}), about {gigabytes:.1f} "
        "GiB of memory"
    )
    numbers = {value["name"]: value["value"] for value in training["hyperparameters"]}
    names = ("n_epochs", "batch_size", "learning_rate", "max_seq_length", "max_length")
    shown = [name for name in names if name in numbers]
    yield "  " + ", ".join(f"{name} {_format_number(numbers[name])}" for name in shown)
    yield from (f"  {warning}" for warning in training["warnings"])


def format_rate(rate: float) -> str:
    """Format tokens per second, with two digits where they are few."""
    return f"{rate:,.0f}" if rate >= MIN_WHOLE_RATE else f"{rate:.2g}"


def _format_seconds(seconds: float) -> str:
    if seconds < 2 * SECONDS_PER_MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / SECONDS_PER_MINUTE:.0f} min"


def _format_number(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"
