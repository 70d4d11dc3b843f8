"""Deletion of fine-tuned models and checkpoints, with their weights."""

from typing import Protocol

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.catalog import Catalog
from app.db import outbox
from app.db.tables import (
    TERMINAL_STATES,
    Checkpoint,
    FineTunedModel,
    Job,
    ModelAlias,
    Sweep,
    SweepState,
)
from app.errors import Forbidden, InvalidRequest, NotFound
from app.models import registry
from app.models.registry import ResolvedModel


class AdapterUnloader(Protocol):
    """The part of the engine client that deleting a model needs."""

    async def unload(self, model: ResolvedModel) -> None:
        """Tell the model's engine to unload it. Never raises."""


def delete(session: Session, catalog: Catalog, project_id: str, name: str) -> ResolvedModel | None:
    """Delete a fine-tuned model or checkpoint with its weights; return the model to unload.

    Raises NotFound; Forbidden for an alias and for another project's model; and InvalidRequest
    while the project has an alias of it, or while a job that starts from it is active, since a
    retry of that job reads the weights again.
    """
    if catalog.get(name) is not None:
        message = f"The model '{name}' is a base model. Only fine-tuned models can be deleted."
        raise Forbidden(message, param="model")
    # Waits for a transaction that creates a job from it, which holds a share lock.
    model = registry.find(session, project_id, name, lock="update")
    if model is None:
        raise NotFound("That model does not exist", param="model")
    if model.name != name:
        raise Forbidden(
            f"'{name}' is an alias of the model '{model.name}'. Delete the alias by "
            f"DELETE /v1/aliases/{name}, or the model by its own name.",
            param="model",
        )
    if model.project_id != project_id:
        raise Forbidden(
            f"The model '{name}' belongs to another project; only that project can delete it.",
            param="model",
        )
    if session.scalar(select(is_in_use(name))):
        raise InvalidRequest(
            f"The model '{name}' is in use by an active job or sweep that starts from it. Cancel "
            "it or wait until it has ended.",
            param="model",
        )
    alias = _find_alias_of(session, project_id, name)
    if alias is not None:
        raise InvalidRequest(
            f"The model '{name}' has the alias '{alias}'. Point the alias to another model by "
            f"POST /v1/aliases/{alias}, or delete it, first.",
            param="model",
        )
    mark_deleted(session, model)
    base = catalog.get(model.base_model)
    return None if base is None else ResolvedModel(name, base, model.storage_prefix)


def mark_deleted(session: Session, model: FineTunedModel) -> None:
    """Mark a locked model as deleted, and enqueue the deletion of its weights."""
    model.deleted_at = func.clock_timestamp()
    # No job may resume from the checkpoint any more, since its files will be deleted.
    session.execute(
        update(Checkpoint)
        .where(Checkpoint.job_id == model.job_id, Checkpoint.storage_prefix == model.storage_prefix)
        .values(deleted_at=func.clock_timestamp())
    )
    outbox.enqueue_prefix_deletion(session, model.storage_prefix)


def is_in_use(name: str | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Build the condition that a job or a sweep which has not ended starts from the model."""
    return or_(
        exists().where(Job.start_model == name, Job.state.not_in(TERMINAL_STATES)),
        exists().where(Sweep.start_model == name, Sweep.state == SweepState.RUNNING),
    )


def _find_alias_of(session: Session, project_id: str, model: str) -> str | None:
    return session.scalars(
        select(ModelAlias.name)
        .where(ModelAlias.project_id == project_id, ModelAlias.model_name == model)
        .order_by(ModelAlias.name)
        .limit(1)
    ).one_or_none()
