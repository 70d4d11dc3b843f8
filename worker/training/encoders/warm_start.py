"""Warm start of an encoder from a fine-tuned model: inherits its task and hyperparameters."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.encoding.task import EncoderTask, Method, read_task
from worker.training.errors import user_error


def read_initial_task(adapter_folder: Path, method: Method) -> EncoderTask | None:
    """Read the task of the model to continue from, or None without one.

    Raises TrainingError if it was trained with another method.
    """
    if not adapter_folder.exists():
        return None
    initial_task = read_task(adapter_folder)
    if initial_task.method != method:
        message = (
            f"The model was trained with the method {initial_task.method}; "
            f"it cannot be trained further with {method}."
        )
        raise user_error("invalid_method", message, "method")
    return initial_task


def inherit_hyperparameters(
    hyperparameters: Mapping[str, Any], initial_task: EncoderTask
) -> dict[str, Any]:
    """Replace "auto" values with those of the model that training continues from.

    `tuning` is always inherited: training a fully tuned model at an adapter's learning rate would
    make it forget what it learned.
    """
    chosen = hyperparameters.get("max_length", "auto")
    length = initial_task.max_length if chosen == "auto" else chosen
    return {**hyperparameters, "tuning": initial_task.tuning, "max_length": length}


def inherit_task(initial_task: EncoderTask, inferred_task: EncoderTask) -> EncoderTask:
    """Adapt the model's task to a file whose inferred task is `inferred_task`.

    Raises TrainingError if the file has labels that the model's head lacks.
    """
    if inferred_task.method == "question_answering":
        # The model recognizes questions without an answer already, or learns it now.
        return replace(
            initial_task,
            max_length=inferred_task.max_length,
            allow_no_answer=initial_task.allow_no_answer or inferred_task.allow_no_answer,
        )
    new_labels = sorted(set(inferred_task.labels) - set(initial_task.labels))
    if new_labels or inferred_task.multi_label != initial_task.multi_label:
        label = (
            f'the label "{new_labels[0]}"' if new_labels else "another number of labels per text"
        )
        message = f"The training file has {label}, which the model to continue from does not know."
        raise user_error("invalid_training_file", message, "training_file")
    return replace(initial_task, max_length=inferred_task.max_length)
