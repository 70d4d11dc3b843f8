"""The fine-tuned model that a job continues from: what of it stays as it is."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog import GENERATIVE_METHODS, can_continue
from app.db.tables import File, FineTunedModel, Job
from app.errors import InvalidRequest
from app.formats.errors import escape_for_message
from app.jobs.failures import JobFailure
from app.jobs.file_checks import LABELLED_METHODS, build_invalid_file_failure

# Hyperparameters that are the model's own once it has been trained.
INHERITED_OPTIONS = ("tuning", "lora_rank", "lora_alpha", "target_modules")


def find_source_job(session: Session, start_model: str | None) -> Job | None:
    """Find the job that made the fine-tuned model; None for a base model."""
    if start_model is None:
        return None
    named = select(Job).join(FineTunedModel, FineTunedModel.job_id == Job.id)
    return session.scalars(named.where(FineTunedModel.name == start_model)).one_or_none()


def check_method(start_model: str, before: str, method: str) -> None:
    """Raise InvalidRequest if the model, made by the method `before`, does not suit `method`."""
    if can_continue(before, method):
        return
    raise InvalidRequest(
        f"Model {start_model} was made by method '{before}' and cannot be trained further with "
        f"method '{method}'. Use '{before}', or start from the base model.",
        param="method.type",
        code="invalid_value",
    )


def find_changed_options(chosen: dict[str, Any], source: Job) -> Iterator[tuple[str, str]]:
    """Yield the options in which a job must agree with the model that it continues from."""
    before = source.resolved_hyperparameters or {}
    for name in INHERITED_OPTIONS:
        if _is_set(chosen, name) and before.get(name) not in (None, chosen[name]):
            is_synonym = name == "tuning" and _is_set(chosen, "full")
            yield (
                "full" if is_synonym else name,
                f"The job continues from a model whose {name} is {before[name]!r}, which cannot "
                f"change. Omit {name}, or start from the base model.",
            )


def find_inherited_options(
    session: Session, start_model: str | None, chosen: dict[str, Any]
) -> dict[str, Any]:
    """Find the hyperparameters that a job takes over from the model that it continues from.

    Only those that `chosen` leaves to the service, and that the model's job has resolved.
    """
    source = find_source_job(session, start_model)
    if source is None:
        return {}
    names = list(INHERITED_OPTIONS)
    if source.method not in GENERATIVE_METHODS:
        names.append("max_length")
    before = source.resolved_hyperparameters or {}
    return {
        name: before[name]
        for name in names
        if before.get(name) is not None and not _is_set(chosen, name)
    }


def find_unknown_label(
    session: Session, start_model: str | None, method: str, training: File
) -> JobFailure | None:
    """Find the failure of a job whose training file has labels that the model does not know.

    They are those of its own training file, unless that was deleted, or the model continued from
    another itself; then training finds out.
    """
    source = find_source_job(session, start_model) if method in LABELLED_METHODS else None
    if source is None or source.start_model is not None:
        return None
    known = session.get_one(File, source.training_file_id).summary
    if known is None or training.summary is None:
        return None
    new = sorted(set(training.summary["labels"]) - set(known["labels"]))
    # Texts have one label, or any number.
    shapes = {summary.get("shape") for summary in (known, training.summary)} - {None, ""}
    is_other_kind = method == "classification" and len(shapes) > 1
    if not new and not is_other_kind:
        return None
    what = f'the label "{escape_for_message(new[0])}"' if new else "another number of labels a text"
    return build_invalid_file_failure(
        "training",
        f"It has {what}, which the model to continue from does not know. Use the labels of that "
        "model, or start from the base model.",
    )


def _is_set(chosen: dict[str, Any], name: str) -> bool:
    return bool(chosen.get(name, "auto") != "auto")
