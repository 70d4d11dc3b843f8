"""Whether a job's files can train it. Their lines were judged at upload; here are the rules."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.db.tables import File
from app.formats.question_answering import ANSWERED

# The format that each method reads. A method that is not here takes any format.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "supervised": ("chat", "completion"),
    "dpo": ("preference",),
    "classification": ("classification",),
    "token_classification": ("token_classification",),
    "question_answering": ("question_answering",),
    # Texts with the same label are pairs too.
    "embedding": ("embedding", "classification"),
}
# What OpenAI says is missing where a file is of another method's format.
FIRST_KEYS: Mapping[str, str] = {"supervised": "messages", "dpo": "input"}
LABELLED = ("classification", "token_classification")
# OpenAI's least for a training file; a validation file may be smaller.
LEAST_EXAMPLES = 10
FORMAT_ERROR = "invalid_file_format"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a job ends: `code`, `param` and `message` of its `error`."""

    code: str
    message: str
    param: str | None = None


def judge(method: str, training: File, checked: File | None) -> Problem | None:
    """The first reason not to train with these files, or None."""
    problem = _of_file(method, training, "training", least=LEAST_EXAMPLES)
    if problem is None and checked is not None:
        problem = _of_file(method, checked, "validation", least=1)
    if problem is None and checked is not None:
        problem = _of_copies(training, checked) or _of_shapes(training, checked)
    if problem is None and (method in LABELLED or training.format == "classification"):
        problem = _of_labels(method, training)
    if problem is None and method == "question_answering":
        problem = _of_answers(training)
    if problem is None and method == "embedding" and checked is not None:
        problem = _of_texts_alone(checked)
    if problem is None and method in LABELLED and checked is not None:
        problem = _of_unknown_labels(training, checked)
    return problem


def _of_copies(training: File, checked: File) -> Problem | None:
    if checked.sha256 != training.sha256:
        return None
    there = "It has the same content as the training file, and would measure what was learned."
    return _invalid("validation", f"{there} Hold examples out of training, or leave it out.")


def _of_shapes(training: File, checked: File) -> Problem | None:
    """One label or several, positives or scores, tags or spans: both files have the same."""
    ours, theirs = _shape(training), _shape(checked)
    if training.format != checked.format or not ours or not theirs or ours == theirs:
        return None
    there = f"Its examples have {theirs!r}, those of the training file have {ours!r}."
    return _invalid("validation", f"{there} Write both files in one way.")


def _shape(file: File) -> str | None:
    return (file.summary or {}).get("shape")


def _of_labels(method: str, training: File) -> Problem | None:
    """What keeps labels from being learned."""
    known, lines = _labels(training)
    if len(known) < (1 if method == "token_classification" else 2):
        there = f"only the label {next(iter(known))!r}" if known else "no label at all"
        return _invalid("training", f"It has {there}: there is nothing to tell apart.")
    for label, count in known.items():
        if count == 1:
            where = f"The label {label!r} is there once, in line {lines[label]}."
            return _invalid("training", f"{where} Add examples of it, or remove it.")
    return None


def _of_answers(training: File) -> Problem | None:
    """What keeps a model from learning to answer."""
    if ANSWERED in _labels(training)[0]:
        return None
    return _invalid("training", "No question in it has an answer: there is nothing to find.")


def _of_texts_alone(checked: File) -> Problem | None:
    """What keeps vectors from being measured: by which pass was the best, and when to stop."""
    known, _ = _labels(checked)
    if not known or max(known.values()) > 1:
        return None
    there = "Each of its labels is there once: no text has another of its label to be found by."
    return _invalid("validation", f"{there} Give labels two texts or more, or leave the file out.")


def _of_unknown_labels(training: File, checked: File) -> Problem | None:
    """What keeps a model from being measured."""
    known, _ = _labels(training)
    theirs, lines = _labels(checked)
    for label in theirs.keys() - known.keys():
        where = f"The label {label!r} (line {lines[label]}) is not in the training file."
        return _invalid("validation", f"{where} A model cannot learn a label that it never sees.")
    return None


def _labels(file: File) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """How often each label is there, and in which line first."""
    summary = file.summary or {}
    return summary.get("labels", {}), summary.get("first_lines", {})


def _invalid(role: str, reason: str) -> Problem:
    message = f"The job failed due to an invalid {role} file. {reason}"
    return Problem(f"invalid_{role}_file", message, f"{role}_file")


def _of_file(method: str, file: File, role: str, *, least: int) -> Problem | None:
    param = f"{role}_file"
    if file.deleted_at is not None:
        return missing(file.id, role)
    if file.status == "error":
        return _of_faults(file, role)
    if (file.examples or 0) < least:
        count = file.examples or 0
        message = (
            f"{role.capitalize()} file has {count} example(s), "
            f"but must have at least {least} examples"
        )
        return Problem("invalid_n_examples", message, param)
    return _of_format(method, file, role)


def _of_faults(file: File, role: str) -> Problem:
    """OpenAI has two codes: for lines that are no examples, and for unusable examples."""
    reason = file.status_details or "The file cannot be read."
    first = (file.faults or {}).get("first", [{}])[0]
    if first.get("code") == FORMAT_ERROR:
        message = f"The job failed due to a file format error in the {role} file. {reason}"
        return Problem(FORMAT_ERROR, message, f"{role}_file")
    message = f"The job failed due to an invalid {role} file. {reason}"
    return Problem(f"invalid_{role}_file", message, f"{role}_file")


def missing(file_id: str, role: str) -> Problem:
    """The problem of a file that was deleted before the job could read it."""
    message = (
        f"The job failed due to an invalid {role} file. "
        f"{file_id} was deleted before the job could read it."
    )
    return Problem(f"invalid_{role}_file", message, f"{role}_file")


def _of_format(method: str, file: File, role: str) -> Problem | None:
    wanted = FORMATS.get(method)
    if wanted is None or file.format in wanted:
        return None
    key = FIRST_KEYS.get(method)
    missing_key = "" if key is None else f"Example 1 is missing key '{key}'. "
    message = (
        f"The job failed due to a file format error in the {role} file. Invalid file format. "
        f"{missing_key}Method {method} needs examples in the {' or '.join(wanted)} format, "
        f"these are in the {file.format} format."
    )
    return Problem(FORMAT_ERROR, message, f"{role}_file")
