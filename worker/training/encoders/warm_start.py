"""A tuned model that training continues from: what stays as it was made."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.encoding.task import EncoderTask, Method, read_task
from worker.training.errors import user_error


def read_initial_task(init: Path, method: Method) -> EncoderTask | None:
    """The task of the model in `init`, if there is one. Raises a user error for another method."""
    if not init.exists():
        return None
    before = read_task(init)
    if before.method != method:
        message = f"The model was made by a {before.method} job; it cannot go on as {method}."
        raise user_error("invalid_method", message, "method")
    return before


def inherit_hyperparameters(
    hyperparameters: Mapping[str, Any], before: EncoderTask
) -> dict[str, Any]:
    """What was chosen, with what is "auto" as it is in the model that training continues from:
    all of its layers at the learning rate of an adapter would forget what they know."""
    chosen = hyperparameters.get("max_length", "auto")
    length = before.max_length if chosen == "auto" else chosen
    return {**hyperparameters, "tuning": before.tuning, "max_length": length}


def inherit_task(before: EncoderTask, own: EncoderTask) -> EncoderTask:
    """The task of the model, for a file whose own task it would be to a new one.

    Raises a user error if the file has what the model's head has no place for.
    """
    if own.method == "question_answering":
        # It knows how to say that there is no answer, or learns it now.
        return replace(
            before, max_length=own.max_length, multi_label=before.multi_label or own.multi_label
        )
    new = sorted(set(own.labels) - set(before.labels))
    if new or own.multi_label != before.multi_label:
        what = f'the label "{new[0]}"' if new else "another shape of labels"
        message = f"The training file has {what}, which the model to continue from does not know."
        raise user_error("invalid_training_file", message, "training_file")
    return replace(before, max_length=own.max_length)
