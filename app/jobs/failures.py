"""Failures of a job: the codes, messages and parameters of its `error`."""

from dataclasses import dataclass
from enum import StrEnum


class JobErrorCode(StrEnum):
    """Error codes that the service gives to jobs.

    Training processes report additional ones. The first four are OpenAI's.
    """

    INVALID_FILE_FORMAT = "invalid_file_format"
    INVALID_N_EXAMPLES = "invalid_n_examples"
    INVALID_TRAINING_FILE = "invalid_training_file"
    INVALID_VALIDATION_FILE = "invalid_validation_file"
    INVALID_TEST_FILE = "invalid_test_file"
    # The service could not check the files.
    VALIDATION_FAILED = "validation_failed"
    MODEL_NOT_FOUND = "model_not_found"
    LOSS_NOT_FINITE = "loss_not_finite"
    TRAINING_DIVERGED = "training_diverged"
    TRAINING_FAILED = "training_failed"
    OUT_OF_MEMORY = "out_of_memory"
    # The maximum number of attempts without progress was reached.
    WORKER_CRASHED_REPEATEDLY = "worker_crashed_repeatedly"
    DISK_FULL = "disk_full"
    # The operator's limits per job.
    TOKEN_LIMIT_EXCEEDED = "token_limit_exceeded"
    TIME_LIMIT_EXCEEDED = "time_limit_exceeded"


@dataclass(frozen=True, slots=True)
class JobFailure:
    """The reason why a job fails: `code`, `message` and `param` of its `error`."""

    code: str
    message: str
    param: str | None = None
