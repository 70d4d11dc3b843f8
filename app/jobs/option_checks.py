"""What a job may ask of its model. An option that would change nothing is refused, not dropped."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog import CatalogModel
from app.db.tables import FineTunedModel, Job
from app.errors import InvalidRequest
from app.jobs.file_checks import LABELLED_METHODS
from app.jobs.schemas import CreateJob

# A model that one of these has made can go on as any of them: all are adapters for writing.
GENERATIVE_METHODS = ("supervised", "dpo")


def check_options(
    session: Session, base: CatalogModel, start_model: str | None, asked: CreateJob
) -> None:
    """Raises InvalidRequest for a method that the model cannot be trained by, and for an option
    that this job would not use. `start_model` is the tuned model that it continues from."""
    method = asked.method_type
    _check_method_available(base, method)
    made_by = _find_source_job(session, start_model)
    if made_by is not None:
        _check_method_compatible(start_model, made_by.method, method)
    for name, reason in _find_unused_options(base, made_by, asked):
        raise InvalidRequest(reason, param=asked.param_path(name), code="invalid_value")


def _check_method_available(base: CatalogModel, method: str) -> None:
    if method in base.methods:
        return
    there = " or ".join(f"'{name}'" for name in base.methods)
    raise InvalidRequest(
        f"Method '{method}' is not available for model {base.id}; use {there}.",
        param="method.type",
        code="invalid_value",
    )


def _find_source_job(session: Session, start_model: str | None) -> Job | None:
    """The job that made a tuned model; None for a base model."""
    if start_model is None:
        return None
    named = select(Job).join(FineTunedModel, FineTunedModel.job_id == Job.id)
    return session.scalars(named.where(FineTunedModel.name == start_model)).one_or_none()


def _check_method_compatible(start_model: str | None, before: str, method: str) -> None:
    if method == before or (method in GENERATIVE_METHODS and before in GENERATIVE_METHODS):
        return
    raise InvalidRequest(
        f"Model {start_model} was made by method '{before}' and cannot go on by method "
        f"'{method}'. Use '{before}', or start from the base model.",
        param="method.type",
        code="invalid_value",
    )


def _find_unused_options(
    base: CatalogModel, made_by: Job | None, asked: CreateJob
) -> Iterator[tuple[str, str]]:
    """Names of options that this job would not use, and why."""
    chosen = asked.chosen_hyperparameters()
    if _is_set(chosen, "early_stopping_patience") and asked.validation_file is None:
        yield (
            "early_stopping_patience",
            "Training stops early by what it measures on a validation file, and this job has none. "
            "Give it a validation_file, or leave out early_stopping_patience.",
        )
    if chosen.get("class_weights") == "balanced" and asked.method_type not in LABELLED_METHODS:
        yield (
            "class_weights",
            f"Method '{asked.method_type}' has no classes to weigh; class_weights is for "
            f"{' and '.join(LABELLED_METHODS)}. Leave it out.",
        )
    if _is_set(chosen, "max_length") and chosen["max_length"] > base.context_length:
        yield (
            "max_length",
            f"Model {base.id} reads at most {base.context_length} tokens. Ask for no more, or "
            "leave out max_length.",
        )
    before = None if made_by is None else (made_by.resolved or {}).get("tuning")
    if _is_set(chosen, "tuning") and before not in (None, chosen["tuning"]):
        yield (
            "tuning",
            f"The job continues from a model that was tuned as '{before}', and goes on so. Leave "
            "out tuning, or start from the base model.",
        )


def _is_set(chosen: dict[str, Any], name: str) -> bool:
    return bool(chosen.get(name, "auto") != "auto")
