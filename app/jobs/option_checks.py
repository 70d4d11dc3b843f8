"""Checks of a new job's method and options. An option without effect is rejected, not ignored."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from app.catalog import GENERATIVE_METHODS, CatalogModel
from app.db.tables import Job
from app.errors import InvalidRequest
from app.jobs import start_models
from app.jobs.chat_option_checks import find_impossible_chat_options
from app.jobs.encoder_option_checks import find_unused_encoder_options
from app.jobs.job_rules import JobRules
from app.jobs.schemas import CreateJob


def check_options(
    session: Session,
    rules: JobRules,
    base: CatalogModel,
    start_model: str | None,
    request: CreateJob,
) -> None:
    """Raise InvalidRequest for a method the model does not support, or an option without effect.

    `start_model` is the fine-tuned model that the job continues from, if any.
    """
    method = request.method_type
    _check_method_available(base, method)
    source = start_models.find_source_job(session, start_model)
    if source is not None and start_model is not None:
        start_models.check_method(start_model, source.method, method)
    _check_test_metrics(request)
    for name, reason in _find_unused_options(rules, base, source, request):
        raise InvalidRequest(reason, param=request.build_param_path(name), code="invalid_value")


def _check_method_available(base: CatalogModel, method: str) -> None:
    if method in base.methods:
        return
    available = " or ".join(f"'{name}'" for name in base.methods)
    raise InvalidRequest(
        f"Method '{method}' is not available for model {base.id}; use {available}.",
        param="method.type",
        code="invalid_value",
    )


def _check_test_metrics(request: CreateJob) -> None:
    if not request.test_metrics:
        return
    if request.test_file is None or request.method_type not in GENERATIVE_METHODS:
        raise InvalidRequest(
            "'test_metrics' compare answers of a chat model with those of a test_file. Add a "
            f"test_file to a job of method {' or '.join(GENERATIVE_METHODS)}, or omit them.",
            param="test_metrics",
            code="invalid_value",
        )


def _find_unused_options(
    rules: JobRules, base: CatalogModel, source: Job | None, request: CreateJob
) -> Iterator[tuple[str, str]]:
    """Yield the name of each option that would have no effect or fail the job, and why."""
    chosen = request.merge_hyperparameters()
    yield from _find_options_without_validation(chosen, request)
    if request.method_type in GENERATIVE_METHODS:
        yield from find_impossible_chat_options(
            chosen, base, source, request.method_type, is_base_sharded=rules.is_base_sharded
        )
    else:
        yield from find_unused_encoder_options(chosen, source, request.method_type)
    for name in ("max_seq_length", "max_length"):
        if _is_set(chosen, name) and chosen[name] > base.context_length:
            yield (
                name,
                f"Model {base.id} reads at most {base.context_length} tokens. Lower {name}, or "
                "omit it.",
            )
    if source is not None:
        yield from start_models.find_changed_options(chosen, source)


def _find_options_without_validation(
    chosen: dict[str, Any], request: CreateJob
) -> Iterator[tuple[str, str]]:
    """Yield the options that need a validation file, if the job has none."""
    if request.validation_file is not None:
        return
    if _is_set(chosen, "early_stopping_patience"):
        yield (
            "early_stopping_patience",
            "Early stopping is based on metrics of a validation file, and this job has none. "
            "Add a validation_file, or omit early_stopping_patience.",
        )
    if chosen.get("keep") == "best":
        yield (
            "keep",
            "The best epoch is chosen by results on a validation file, and this job has none. "
            "Add a validation_file, or omit keep.",
        )


def _is_set(chosen: dict[str, Any], name: str) -> bool:
    return bool(chosen.get(name, "auto") != "auto")
