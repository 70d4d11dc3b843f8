"""Checks that a job's files can train its method. Single lines were validated at upload."""

from collections.abc import Mapping

from app.db.tables import File, FileStatus
from app.formats import MIN_TRAINING_EXAMPLES, ErrorCode, FormatName
from app.formats.question_answering import ANSWERED_LABEL
from app.jobs.failures import JobErrorCode, JobFailure

# The formats that each method accepts. An unlisted method accepts any format.
FORMATS_BY_METHOD: Mapping[str, tuple[FormatName, ...]] = {
    "supervised": (FormatName.CHAT, FormatName.COMPLETION),
    "dpo": (FormatName.PREFERENCE,),
    "classification": (FormatName.CLASSIFICATION,),
    "token_classification": (FormatName.TOKEN_CLASSIFICATION,),
    "question_answering": (FormatName.QUESTION_ANSWERING,),
    # Texts with the same label are positive pairs too.
    "embedding": (FormatName.EMBEDDING, FormatName.CLASSIFICATION),
}
# The key that OpenAI reports as missing from a file in another method's format.
REQUIRED_KEYS: Mapping[str, str] = {"supervised": "messages", "dpo": "input"}
LABELLED_METHODS = ("classification", "token_classification")


def find_failure(
    method: str, training: File, validation: File | None, test: File | None = None
) -> JobFailure | None:
    """Return the first reason not to train with these files, or None."""
    failure = _check_file(method, training, "training", minimum=MIN_TRAINING_EXAMPLES)
    others = {"validation": validation, "test": test}
    held_out = {role: file for role, file in others.items() if file is not None}
    for role, file in held_out.items():
        failure = (
            failure
            or _check_file(method, file, role, minimum=1)
            or _check_duplicate(training, file, role)
            or _check_shapes(training, file, role)
        )
    if failure is None and validation is not None and test is not None:
        failure = _check_test_duplicate(validation, test)
    if failure is None and (
        method in LABELLED_METHODS or training.format == FormatName.CLASSIFICATION
    ):
        failure = _check_labels(method, training)
    if failure is None and method == "question_answering":
        failure = _check_answers(training)
    for role, file in held_out.items():
        if failure is None and method == "embedding":
            failure = _check_label_pairs(file, role)
        if failure is None and method in LABELLED_METHODS:
            failure = _check_unknown_labels(training, file, role)
    return failure


def _check_duplicate(training: File, file: File, role: str) -> JobFailure | None:
    if file.sha256 != training.sha256:
        return None
    reason = "It has the same content as the training file, so it would measure memorization."
    return build_invalid_file_failure(role, f"{reason} Hold out other examples, or omit the file.")


def _check_test_duplicate(validation: File, test: File) -> JobFailure | None:
    if test.sha256 != validation.sha256:
        return None
    reason = (
        "It has the same content as the validation file, by which the weights are chosen, so it "
        "would measure them too well. Use other examples, or omit the file."
    )
    return build_invalid_file_failure("test", reason)


def _check_shapes(training: File, file: File, role: str) -> JobFailure | None:
    """Require the same kind of rows in both files: such as one label, or pairs with scores."""
    ours, theirs = _get_shape(training), _get_shape(file)
    if training.format != file.format or not ours or not theirs or ours == theirs:
        return None
    reason = f"Its examples have {theirs!r}, those of the training file have {ours!r}."
    return build_invalid_file_failure(role, f"{reason} Use the same field in both files.")


def _get_shape(file: File) -> str | None:
    return (file.summary or {}).get("shape")


def _check_labels(method: str, training: File) -> JobFailure | None:
    """Require enough labels, and each of them more than once."""
    known, lines = _get_label_counts(training)
    minimum = 1 if method == "token_classification" else 2
    if len(known) < minimum:
        description = f"only the label {next(iter(known))!r}" if known else "no label at all"
        return build_invalid_file_failure(
            "training", f"It has {description}; training needs at least {minimum}."
        )
    for label, count in known.items():
        if count == 1:
            reason = f"The label {label!r} occurs only once, in line {lines[label]}."
            return build_invalid_file_failure(
                "training", f"{reason} Add examples of it, or remove it."
            )
    return None


def _check_answers(training: File) -> JobFailure | None:
    """Require at least one question with an answer."""
    if ANSWERED_LABEL in _get_label_counts(training)[0]:
        return None
    reason = "None of its questions has an answer, so there is nothing to learn."
    return build_invalid_file_failure("training", reason)


def _check_label_pairs(file: File, role: str) -> JobFailure | None:
    """Require a label with two texts: retrieval is measured by finding texts of the same label."""
    known, _ = _get_label_counts(file)
    if not known or max(known.values()) > 1:
        return None
    reason = "Each of its labels occurs only once, so no text has a match to retrieve."
    return build_invalid_file_failure(
        role, f"{reason} Give labels two texts or more, or omit the file."
    )


def _check_unknown_labels(training: File, file: File, role: str) -> JobFailure | None:
    """Require that every label of a file that measures is in the training file."""
    known, _ = _get_label_counts(training)
    theirs, lines = _get_label_counts(file)
    for label in theirs.keys() - known.keys():
        reason = f"The label {label!r} (line {lines[label]}) is not in the training file."
        return build_invalid_file_failure(
            role, f"{reason} A model cannot learn a label it never sees."
        )
    return None


def _get_label_counts(file: File) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Get the number of occurrences of each label, and the line of its first one."""
    summary = file.summary or {}
    return summary.get("labels", {}), summary.get("first_lines", {})


def build_invalid_file_failure(role: str, reason: str) -> JobFailure:
    """Build the failure of a job whose file has nothing, or the wrong things, to learn."""
    message = f"The job failed due to an invalid {role} file. {reason}"
    return JobFailure(JobErrorCode(f"invalid_{role}_file"), message, f"{role}_file")


def _check_file(method: str, file: File, role: str, *, minimum: int) -> JobFailure | None:
    param = f"{role}_file"
    if file.deleted_at is not None:
        return build_missing_file_failure(file.id, role)
    if file.status == FileStatus.ERROR:
        return _build_validation_failure(file, role)
    if (file.examples or 0) < minimum:
        count = file.examples or 0
        message = (
            f"{role.capitalize()} file has {count} example(s), "
            f"but must have at least {minimum} examples"
        )
        return JobFailure(JobErrorCode.INVALID_N_EXAMPLES, message, param)
    return _check_format(method, file, role)


def _build_validation_failure(file: File, role: str) -> JobFailure:
    """Choose between OpenAI's two codes: lines that are not examples, and unusable examples."""
    reason = file.status_details or "The file cannot be read."
    first = (file.validation_errors or {}).get("first", [{}])[0]
    if first.get("code") == ErrorCode.INVALID_FILE_FORMAT:
        message = f"The job failed due to a file format error in the {role} file. {reason}"
        return JobFailure(JobErrorCode.INVALID_FILE_FORMAT, message, f"{role}_file")
    return build_invalid_file_failure(role, reason)


def build_missing_file_failure(file_id: str, role: str) -> JobFailure:
    """Build the failure of a job whose file was deleted before the job could read it."""
    return build_invalid_file_failure(role, f"{file_id} was deleted before the job could read it.")


def _check_format(method: str, file: File, role: str) -> JobFailure | None:
    accepted = FORMATS_BY_METHOD.get(method)
    if accepted is None or file.format in accepted:
        return None
    key = REQUIRED_KEYS.get(method)
    missing_key = "" if key is None else f"Example 1 is missing key '{key}'. "
    message = (
        f"The job failed due to a file format error in the {role} file. Invalid file format. "
        f"{missing_key}Method {method} needs examples in the {' or '.join(accepted)} format, "
        f"these are in the {file.format} format."
    )
    return JobFailure(JobErrorCode.INVALID_FILE_FORMAT, message, f"{role}_file")
