"""Whether a job's files can train it. Their lines were judged at upload; here are the rules."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.db.tables import File
from app.formats.question_answering import ANSWERED_LABEL

# The format that each method reads. A method that is not here takes any format.
FORMATS_BY_METHOD: Mapping[str, tuple[str, ...]] = {
    "supervised": ("chat", "completion"),
    "dpo": ("preference",),
    "classification": ("classification",),
    "token_classification": ("token_classification",),
    "question_answering": ("question_answering",),
    # Texts with the same label are pairs too.
    "embedding": ("embedding", "classification"),
}
# What OpenAI says is missing where a file is of another method's format.
REQUIRED_KEYS: Mapping[str, str] = {"supervised": "messages", "dpo": "input"}
LABELLED_METHODS = ("classification", "token_classification")
# OpenAI's least for a training file; a validation file may be smaller.
MIN_TRAINING_EXAMPLES = 10
INVALID_FILE_FORMAT = "invalid_file_format"


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job ends: `code`, `param` and `message` of its `error`."""

    code: str
    message: str
    param: str | None = None


def find_failure(method: str, training: File, checked: File | None) -> JobFailure | None:
    """The first reason not to train with these files, or None."""
    problem = _check_file(method, training, "training", least=MIN_TRAINING_EXAMPLES)
    if problem is None and checked is not None:
        problem = _check_file(method, checked, "validation", least=1)
    if problem is None and checked is not None:
        problem = _check_duplicate(training, checked) or _check_shapes(training, checked)
    if problem is None and (method in LABELLED_METHODS or training.format == "classification"):
        problem = _check_labels(method, training)
    if problem is None and method == "question_answering":
        problem = _check_answers(training)
    if problem is None and method == "embedding" and checked is not None:
        problem = _check_label_pairs(checked)
    if problem is None and method in LABELLED_METHODS and checked is not None:
        problem = _check_unknown_labels(training, checked)
    return problem


def _check_duplicate(training: File, checked: File) -> JobFailure | None:
    if checked.sha256 != training.sha256:
        return None
    there = "It has the same content as the training file, and would measure what was learned."
    return _invalid_file("validation", f"{there} Hold examples out of training, or leave it out.")


def _check_shapes(training: File, checked: File) -> JobFailure | None:
    """One label or several, positives or scores, tags or spans: both files have the same."""
    ours, theirs = _shape(training), _shape(checked)
    if training.format != checked.format or not ours or not theirs or ours == theirs:
        return None
    there = f"Its examples have {theirs!r}, those of the training file have {ours!r}."
    return _invalid_file("validation", f"{there} Write both files in one way.")


def _shape(file: File) -> str | None:
    return (file.summary or {}).get("shape")


def _check_labels(method: str, training: File) -> JobFailure | None:
    """What keeps labels from being learned."""
    known, lines = _label_counts(training)
    if len(known) < (1 if method == "token_classification" else 2):
        there = f"only the label {next(iter(known))!r}" if known else "no label at all"
        return _invalid_file("training", f"It has {there}: there is nothing to tell apart.")
    for label, count in known.items():
        if count == 1:
            where = f"The label {label!r} is there once, in line {lines[label]}."
            return _invalid_file("training", f"{where} Add examples of it, or remove it.")
    return None


def _check_answers(training: File) -> JobFailure | None:
    """What keeps a model from learning to answer."""
    if ANSWERED_LABEL in _label_counts(training)[0]:
        return None
    return _invalid_file("training", "No question in it has an answer: there is nothing to find.")


def _check_label_pairs(checked: File) -> JobFailure | None:
    """What keeps vectors from being measured: by which pass was the best, and when to stop."""
    known, _ = _label_counts(checked)
    if not known or max(known.values()) > 1:
        return None
    there = "Each of its labels is there once: no text has another of its label to be found by."
    return _invalid_file(
        "validation", f"{there} Give labels two texts or more, or leave the file out."
    )


def _check_unknown_labels(training: File, checked: File) -> JobFailure | None:
    """What keeps a model from being measured."""
    known, _ = _label_counts(training)
    theirs, lines = _label_counts(checked)
    for label in theirs.keys() - known.keys():
        where = f"The label {label!r} (line {lines[label]}) is not in the training file."
        return _invalid_file(
            "validation", f"{where} A model cannot learn a label that it never sees."
        )
    return None


def _label_counts(file: File) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """How often each label is there, and in which line first."""
    summary = file.summary or {}
    return summary.get("labels", {}), summary.get("first_lines", {})


def _invalid_file(role: str, reason: str) -> JobFailure:
    message = f"The job failed due to an invalid {role} file. {reason}"
    return JobFailure(f"invalid_{role}_file", message, f"{role}_file")


def _check_file(method: str, file: File, role: str, *, least: int) -> JobFailure | None:
    param = f"{role}_file"
    if file.deleted_at is not None:
        return missing_file_failure(file.id, role)
    if file.status == "error":
        return _validation_failure(file, role)
    if (file.examples or 0) < least:
        count = file.examples or 0
        message = (
            f"{role.capitalize()} file has {count} example(s), "
            f"but must have at least {least} examples"
        )
        return JobFailure("invalid_n_examples", message, param)
    return _check_format(method, file, role)


def _validation_failure(file: File, role: str) -> JobFailure:
    """OpenAI has two codes: for lines that are no examples, and for unusable examples."""
    reason = file.status_details or "The file cannot be read."
    first = (file.faults or {}).get("first", [{}])[0]
    if first.get("code") == INVALID_FILE_FORMAT:
        message = f"The job failed due to a file format error in the {role} file. {reason}"
        return JobFailure(INVALID_FILE_FORMAT, message, f"{role}_file")
    message = f"The job failed due to an invalid {role} file. {reason}"
    return JobFailure(f"invalid_{role}_file", message, f"{role}_file")


def missing_file_failure(file_id: str, role: str) -> JobFailure:
    """The problem of a file that was deleted before the job could read it."""
    message = (
        f"The job failed due to an invalid {role} file. "
        f"{file_id} was deleted before the job could read it."
    )
    return JobFailure(f"invalid_{role}_file", message, f"{role}_file")


def _check_format(method: str, file: File, role: str) -> JobFailure | None:
    wanted = FORMATS_BY_METHOD.get(method)
    if wanted is None or file.format in wanted:
        return None
    key = REQUIRED_KEYS.get(method)
    missing_key = "" if key is None else f"Example 1 is missing key '{key}'. "
    message = (
        f"The job failed due to a file format error in the {role} file. Invalid file format. "
        f"{missing_key}Method {method} needs examples in the {' or '.join(wanted)} format, "
        f"these are in the {file.format} format."
    )
    return JobFailure(INVALID_FILE_FORMAT, message, f"{role}_file")
