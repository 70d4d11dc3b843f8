"""Metrics by which a sweep chooses: those that jobs report about their whole validation file.

A job's checkpoint has them as `full_valid_…` (losses and others of the objective) or `valid_…` (of
the task). `valid_loss` of a step is that of a sample, so here it names the loss of the whole file.
"""

from collections.abc import Mapping

from rapidfuzz import fuzz, process

from app.db.tables import File
from app.errors import InvalidRequest
from app.formats.errors import escape_for_message
from app.jobs.schemas import CreateJob

LOSS = "loss"
AVERAGES = tuple(
    f"{measure}_{average}"
    for measure in ("f1", "precision", "recall")
    for average in ("micro", "macro", "weighted")
)
RETRIEVAL = ("retrieval_at_1", "retrieval_at_5", "retrieval_at_10")
CORRELATION = ("spearman", "pearson")
METRICS_BY_METHOD: Mapping[str, tuple[str, ...]] = {
    "supervised": (LOSS, "mean_token_accuracy"),
    "dpo": (LOSS, "reward_accuracy", "reward_margin"),
    "classification": (LOSS, "accuracy", *AVERAGES, "roc_auc"),
    "token_classification": (LOSS, "f1", "f1_macro", "f1_weighted", "precision", "recall"),
    "question_answering": (LOSS, "f1", "exact_match"),
    "embedding": (LOSS, *RETRIEVAL, *CORRELATION),
}
# Hyperparameters that change what a metric measures, so that trials with different values of them
# do not compare.
NOT_COMPARABLE: Mapping[str, frozenset[str]] = {
    "beta": frozenset({LOSS, "reward_margin"}),
    "class_weights": frozenset({LOSS}),
    "long_rows": frozenset({LOSS, "mean_token_accuracy", "reward_accuracy", "reward_margin"}),
    "max_length": frozenset({LOSS}),
    "max_seq_length": frozenset({LOSS, "mean_token_accuracy", "reward_accuracy", "reward_margin"}),
}
# As metrics are named in a job's events; the first one that a checkpoint has is used.
PREFIXES = ("full_valid_", "valid_")
MIN_SIMILARITY = 60


def check_metric(metric: str, job: CreateJob) -> str:
    """Return the metric's name without a prefix. Raises InvalidRequest for one that cannot choose.

    A metric of the test file never can: a file that has chosen no longer measures what is new.
    """
    if metric.startswith("test"):
        raise _build_invalid_metric(
            "the test file is never used to choose: it measures what was chosen on data that "
            "nothing has seen. Choose by a metric of the validation file, such as 'valid_loss'"
        )
    if metric.startswith("train_"):
        raise _build_invalid_metric(
            "a metric of the training file prefers the model that has memorized it. Choose by a "
            "metric of the validation file, such as 'valid_loss'"
        )
    known = METRICS_BY_METHOD.get(job.method_type, ())
    name = _strip_prefix(metric)
    if name not in known:
        raise _build_invalid_metric(_describe_unknown(metric, name, known, job.method_type))
    if job.validation_file is None:
        raise InvalidRequest(
            f"Missing required parameter: 'job.validation_file'. '{metric}' is measured on it.",
            param="job.validation_file",
            code="missing_required_parameter",
        )
    return name


def check_shape(metric: str, training: File) -> None:
    """Raise InvalidRequest for a metric of embeddings that this kind of file does not have."""
    name = _strip_prefix(metric)
    if name not in (*RETRIEVAL, *CORRELATION) or training.summary is None:
        return
    has_scores = training.summary.get("shape") == "score"
    if has_scores != (name in CORRELATION):
        known = CORRELATION if has_scores else RETRIEVAL
        raise _build_invalid_metric(
            f"jobs on this kind of file report {_list_names(known)}, not '{metric}'"
        )


def find_not_comparable(metric: str, names: Mapping[str, object]) -> str | None:
    """Find the first hyperparameter whose values give metrics that do not compare."""
    name = _strip_prefix(metric)
    return next((each for each in names if name in NOT_COMPARABLE.get(each, ())), None)


def is_minimized(metric: str) -> bool:
    """True if lower values are better; they are of losses only."""
    return _strip_prefix(metric) == LOSS


def read_value(metric: str, values: Mapping[str, float]) -> float | None:
    """Read the metric from those of a checkpoint; None if it is not among them."""
    name = _strip_prefix(metric)
    return next(
        (float(values[prefix + name]) for prefix in PREFIXES if prefix + name in values), None
    )


def _strip_prefix(metric: str) -> str:
    for prefix in PREFIXES:
        if metric.startswith(prefix):
            return metric.removeprefix(prefix)
    return metric


def _describe_unknown(metric: str, name: str, known: tuple[str, ...], method: str) -> str:
    match = process.extractOne(name, known, scorer=fuzz.ratio, score_cutoff=MIN_SIMILARITY)
    hint = f" Did you mean 'valid_{match[0]}'?" if match else ""
    shown = escape_for_message(metric)
    return f"'{shown}' is not a metric of method '{method}', which has {_list_names(known)}.{hint}"


def _list_names(names: tuple[str, ...]) -> str:
    return ", ".join(f"valid_{name}" for name in names)


def _build_invalid_metric(reason: str) -> InvalidRequest:
    message = f"Invalid 'metric': {reason.rstrip('.')}."
    message = message if not reason.endswith("?") else f"Invalid 'metric': {reason}"
    return InvalidRequest(message, param="metric", code="invalid_value")
