"""Limits of one job: the tokens it may train and the hours it may take, set by the operator."""

from typing import Any

from app.catalog import CatalogModel
from app.db.tables import File
from app.errors import InvalidRequest
from app.jobs.failures import JobErrorCode, JobFailure

# A JSON escape such as `\\u4f60` is about one token, and most text has fewer tokens per byte, so
# the estimate is low: a job is only rejected early if it certainly exceeds the limit.
BYTES_PER_TOKEN = 6
SECONDS_PER_HOUR = 3600.0


def estimate_tokens(base: CatalogModel, file: File, hyperparameters: dict[str, Any]) -> int:
    """Estimate the tokens that a job trains, from below: training itself counts them exactly."""
    epochs = hyperparameters.get("n_epochs", "auto")
    most = (file.examples or 0) * base.context_length
    return min(file.bytes // BYTES_PER_TOKEN, most) * (epochs if isinstance(epochs, int) else 1)


def check_token_limit(
    base: CatalogModel, file: File, hyperparameters: dict[str, Any], *, max_tokens: int
) -> None:
    """Raise InvalidRequest for a job that would train more tokens than it may; 0 is unlimited."""
    tokens = estimate_tokens(base, file, hyperparameters)
    if max_tokens and tokens > max_tokens:
        failure = build_token_limit_failure(tokens, max_tokens)
        raise InvalidRequest(failure.message, param=failure.param, code=failure.code)


def build_token_limit_failure(tokens: int, max_tokens: int) -> JobFailure:
    """Build the failure of a job that would train too many tokens."""
    message = (
        f"The job would train at least {tokens} tokens, the training file times its epochs, and "
        f"this service allows {max_tokens} tokens per job. Use a smaller file or fewer epochs, or "
        "ask the operator to raise LUTHIER_MAX_JOB_TOKENS."
    )
    return JobFailure(JobErrorCode.TOKEN_LIMIT_EXCEEDED, message, "training_file")
