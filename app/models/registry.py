"""Which models a project can use: base models of the catalogue and what its jobs have made."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from sqlalchemy import CompoundSelect, Exists, Select, exists, func, or_, select, union_all, update
from sqlalchemy.orm import Session

from app.catalog import Catalog, CatalogModel
from app.db import outbox
from app.db.tables import (
    TERMINAL_STATES,
    Checkpoint,
    CheckpointPermission,
    FineTunedModel,
    Job,
    Organization,
    Project,
)
from app.errors import Forbidden, InvalidRequest, ModelNotFound, NotFound


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What answers under `name`: a base model, or an adapter on it, stored under a prefix."""

    name: str
    base: CatalogModel
    storage_prefix: str | None = None


class AdapterUnloader(Protocol):
    """The engines, as far as a deleted model concerns them."""

    async def unload(self, served: ResolvedModel) -> None:
        """Have the model's engine let go of an adapter. Never raises."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as lists show it."""

    name: str
    created_at: datetime
    is_fine_tuned: bool


def resolve(
    session: Session, catalog: Catalog, project_id: str, name: str, *, share_lock: bool = False
) -> ResolvedModel:
    """What answers under a name: a base model, by id or alias, or a tuned model or checkpoint.

    `keep` has a tuned one stay until the transaction ends. Raises UnknownModel.
    """
    base = catalog.get(name)
    if base is not None:
        return ResolvedModel(name=base.id, base=base)
    tuned = _find(session, project_id, name, lock="share" if share_lock else None)
    base = None if tuned is None else catalog.get(tuned.base_model)
    if tuned is None or base is None:
        raise ModelNotFound(name)
    return ResolvedModel(name=tuned.name, base=base, storage_prefix=tuned.storage_prefix)


def list_(session: Session, catalog: Catalog, project_id: str) -> list[ModelEntry]:
    """Base models by id and alias, then tuned models, newest first, without their checkpoints.

    Those of other projects that this one may use are among them.
    """
    since = _organization_created_at(session, project_id)
    names = [name for base in catalog for name in (base.id, *base.aliases)]
    made = session.scalars(
        select(FineTunedModel)
        .where(
            FineTunedModel.name.in_(_accessible_names(project_id)),
            FineTunedModel.step.is_(None),
            FineTunedModel.deleted_at.is_(None),
        )
        .order_by(FineTunedModel.created_at.desc(), FineTunedModel.name)
    )
    return [ModelEntry(name, since, is_fine_tuned=False) for name in names] + [
        _to_entry(row) for row in made
    ]


def retrieve(session: Session, catalog: Catalog, project_id: str, name: str) -> ModelEntry:
    """One model under the name asked for; checkpoints too. Raises NotFound."""
    if catalog.get(name) is not None:
        return ModelEntry(name, _organization_created_at(session, project_id), is_fine_tuned=False)
    tuned = _find(session, project_id, name)
    if tuned is None:
        raise ModelNotFound(name)
    return _to_entry(tuned)


def delete(session: Session, catalog: Catalog, project_id: str, name: str) -> ResolvedModel | None:
    """Delete a tuned model or a checkpoint, with its weights; what an engine may still serve.

    Raises NotFound, Forbidden for a model that the project may use and does not own, and
    InvalidRequest while a job needs it: a trainer that dies reads it again.
    """
    if catalog.get(name) is not None:
        message = f"The model '{name}' is a base model. Only fine-tuned models can be deleted."
        raise Forbidden(message, param="model")
    # A job that is just being created from it is waited for.
    tuned = _find(session, project_id, name, lock="update")
    if tuned is None:
        raise NotFound("That model does not exist", param="model")
    if tuned.project_id != project_id:
        raise Forbidden(
            f"The model '{name}' belongs to another project, which alone can delete it.",
            param="model",
        )
    if session.scalar(select(_has_active_job(name))):
        raise InvalidRequest(
            f"The model '{name}' is what a job starts from that has not ended. Cancel the job, or "
            "wait until it has ended.",
            param="model",
        )
    tuned.deleted_at = func.clock_timestamp()
    # Nothing may resume from the checkpoint either, since its files are about to go.
    session.execute(
        update(Checkpoint)
        .where(Checkpoint.job_id == tuned.job_id, Checkpoint.storage_prefix == tuned.storage_prefix)
        .values(deleted_at=func.clock_timestamp())
    )
    outbox.enqueue_prefix_deletion(session, tuned.storage_prefix)
    base = catalog.get(tuned.base_model)
    return None if base is None else ResolvedModel(name, base, tuned.storage_prefix)


def get_owned(session: Session, project_id: str, name: str) -> FineTunedModel:
    """A tuned model or checkpoint that is the project's own, not one it may merely use.

    Raises NotFound.
    """
    found = _find(session, project_id, name)
    if found is None or found.project_id != project_id:
        raise ModelNotFound(name)
    return found


def _has_active_job(name: str) -> Exists:
    return exists().where(Job.start_model == name, Job.state.not_in(TERMINAL_STATES))


def _find(
    session: Session, project_id: str, name: str, *, lock: Literal["share", "update"] | None = None
) -> FineTunedModel | None:
    statement = select(FineTunedModel).where(
        FineTunedModel.name == name,
        or_(
            FineTunedModel.project_id == project_id,
            FineTunedModel.name.in_(_permitted_names(project_id)),
        ),
        FineTunedModel.deleted_at.is_(None),
    )
    if lock is not None:
        statement = statement.with_for_update(of=FineTunedModel, read=lock == "share")
    return session.scalars(statement).one_or_none()


def _accessible_names(project_id: str) -> CompoundSelect[str]:
    """Of the models a project may use. A union: with an OR, every project's would be looked at."""
    own = select(FineTunedModel.name).where(FineTunedModel.project_id == project_id)
    return union_all(own, _permitted_names(project_id))


def _permitted_names(project_id: str) -> Select[str]:
    return select(CheckpointPermission.model_name).where(
        CheckpointPermission.project_id == project_id
    )


def _to_entry(row: FineTunedModel) -> ModelEntry:
    return ModelEntry(row.name, row.created_at, is_fine_tuned=True)


def _organization_created_at(session: Session, project_id: str) -> datetime:
    """Since when the project's organization is here, and with it the base models."""
    return session.scalars(
        select(Organization.created_at).join(Project).where(Project.id == project_id)
    ).one()
