"""Failures that a job would have, as far as its rendered rows and its estimate tell."""

from collections.abc import Sequence

from app.jobs import limits
from app.jobs.failures import JobErrorCode, JobFailure
from app.jobs.file_checks import build_invalid_file_failure
from app.jobs.unknown_fields import format_names
from app.training_data.statistics import MeasuredRows
from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import ModelFacts


def find_failing_rows(measured: MeasuredRows, role: str) -> JobFailure | None:
    """Find the failure of a job whose training or validation file has rows that fail it."""
    failing = [number for number, row in enumerate(measured.rows, start=1) if row.fails_job]
    if not failing:
        return None
    first = measured.rows[failing[0] - 1]
    is_whole = measured.scale <= 1
    of = f"{len(measured.rows):,} {'' if is_whole else 'measured '}{_name_rows(measured)}"
    if len(failing) == 1:
        fail, them = f"fails it, example {failing[0]}" if is_whole else "fails it", "it"
    else:
        which = f"example {failing[0]}" if is_whole else "one of them"
        fail, them = f"fail it, such as {which}", "them"
    advice = (
        ", or use long_rows 'truncate' or 'drop'"
        if measured.rendering.long_rows == LongRowPolicy.ERROR
        else ""
    )
    return build_invalid_file_failure(
        role,
        f"{len(failing):,} of its {of} {fail}: {first.note} Change {them}{advice}.",
    )


def find_nothing_learned(measured: MeasuredRows, rows: int) -> JobFailure | None:
    """Find the failure of a job whose training file has no row to learn, if all were measured."""
    if measured.scale > 1 or rows:
        return None
    return JobFailure(
        JobErrorCode.INVALID_TRAINING_FILE,
        f"None of the training file's {len(measured.rows)} examples can be learned: the job would "
        f"fail. Change them, or how long rows may be.{_describe_first_note(measured)}",
        "training_file",
    )


def find_equal_scores(measured: MeasuredRows, role: str) -> JobFailure | None:
    """Find the failure of a job on scored pairs that all have one score, if all were measured."""
    if measured.scale > 1 or not _has_equal_scores(measured):
        return None
    return build_invalid_file_failure(
        role, "All its examples have the same score, so there is no order to learn."
    )


def find_too_many_tokens(tokens: int, *, max_tokens: int, is_exact: bool) -> JobFailure | None:
    """Find the failure of a job that trains more tokens than it may; 0 is unlimited."""
    if not max_tokens or tokens <= max_tokens or not is_exact:
        return None
    return limits.build_token_limit_failure(tokens, max_tokens)


def list_doubts(
    measured: MeasuredRows,
    validation: MeasuredRows | None,
    *,
    rows: int,
    tokens: int,
    seconds: float,
    max_tokens: int,
    max_hours: float,
) -> list[str]:
    """List what may fail or end the job, though the estimate cannot say so for certain.

    `rows` are those of the training file that are learned.
    """
    doubts = []
    if not rows:
        doubts.append(
            f"None of the {len(measured.rows):,} {_name_rows(measured)} of the training file that "
            f"{_say_were(measured)} measured can be learned. The job fails if none of the others "
            f"can. Change them, or how long rows may be.{_describe_first_note(measured)}"
        )
    for role, file in (("training", measured), ("validation", validation)):
        if file is not None and len(file.rows) > 1 and _has_equal_scores(file):
            doubts.append(
                f"All {len(file.rows):,} examples of the {role} file that were measured have the "
                "same score. The job fails if the others have it too, since there is no order to "
                "learn."
            )
    if measured.scale > 1 and measured.rendering.long_rows == LongRowPolicy.ERROR:
        doubts.append(
            f"Of the training file, {len(measured.rows):,} {_name_rows(measured)} "
            f"{_say_were(measured)} measured. "
            f"The job fails if another one is longer than {measured.max_tokens} tokens (long_rows "
            "is 'error')."
        )
    if max_tokens and tokens > max_tokens:
        doubts.append(
            f"The job would train about {tokens:,} tokens and fail, since this service allows "
            f"{max_tokens:,} per job. Use a smaller file or fewer epochs."
        )
    if max_hours and seconds > max_hours * limits.SECONDS_PER_HOUR:
        doubts.append(
            f"The job would take about {seconds / limits.SECONDS_PER_HOUR:.0f} hours. This service "
            f"ends jobs after {max_hours:g}: the job would fail, and its last checkpoint be kept "
            "as a model. Use a smaller file or fewer epochs."
        )
    return doubts


def find_unknown_modules(names: Sequence[str] | str, facts: ModelFacts) -> str | None:
    """Say which of a job's `target_modules` fit no matrix of the model, if its names are known.

    A doubt, since those are read from the model's files, and training asks the loaded model.
    """
    if isinstance(names, str) or not facts.matrix_names:
        return None
    unknown = [name for name in names if name.rpartition(".")[2] not in facts.matrix_names]
    if not unknown:
        return None
    return (
        f"The base model has no layer named {format_names(unknown)}, and the job would fail with "
        f"invalid_target_modules; it has {format_names(facts.matrix_names)}. Choose of these, or "
        "use 'all-linear'."
    )


def _has_equal_scores(measured: MeasuredRows) -> bool:
    scores = {row.score for row in measured.rows}
    return len(scores) == 1 and None not in scores


def _describe_first_note(measured: MeasuredRows) -> str:
    return next((f" Of the first: {row.note}" for row in measured.rows if row.note), "")


def _say_were(measured: MeasuredRows) -> str:
    return "was" if len(measured.rows) == 1 else "were"


def _name_rows(measured: MeasuredRows) -> str:
    return "example" if len(measured.rows) == 1 else "examples"
