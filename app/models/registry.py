"""Which models a project can use: base models of the catalogue and what its jobs have made."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from sqlalchemy import CompoundSelect, Exists, Select, exists, func, or_, select, union_all, update
from sqlalchemy.orm import Session

from app.catalog import BaseModel, Catalog
from app.db import outbox
from app.db.tables import (
    TERMINAL,
    Checkpoint,
    CheckpointPermission,
    Job,
    Organization,
    Project,
    TunedModel,
)
from app.errors import Forbidden, InvalidRequest, NotFound, UnknownModel


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What answers under `name`: a base model, or an adapter on it, stored under a prefix."""

    name: str
    base: BaseModel
    storage_prefix: str | None = None


class AdapterUnloader(Protocol):
    """The engines, as far as a deleted model concerns them."""

    async def unload(self, served: ServedModel) -> None:
        """Have the model's engine let go of an adapter. Never raises."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as lists show it."""

    name: str
    created_at: datetime
    tuned: bool


def resolve(
    session: Session, catalog: Catalog, project_id: str, name: str, *, keep: bool = False
) -> ServedModel:
    """What answers under a name: a base model, by id or alias, or a tuned model or checkpoint.

    `keep` has a tuned one stay until the transaction ends. Raises UnknownModel.
    """
    base = catalog.get(name)
    if base is not None:
        return ServedModel(name=base.id, base=base)
    tuned = _find(session, project_id, name, lock="share" if keep else None)
    base = None if tuned is None else catalog.get(tuned.base_model)
    if tuned is None or base is None:
        raise UnknownModel(name)
    return ServedModel(name=tuned.name, base=base, storage_prefix=tuned.storage_prefix)


def list_(session: Session, catalog: Catalog, project_id: str) -> list[Model]:
    """Base models by id and alias, then tuned models, newest first, without their checkpoints.

    Those of other projects that this one may use are among them.
    """
    since = _since(session, project_id)
    names = [name for base in catalog for name in (base.id, *base.aliases)]
    made = session.scalars(
        select(TunedModel)
        .where(
            TunedModel.name.in_(_names(project_id)),
            TunedModel.step.is_(None),
            TunedModel.deleted_at.is_(None),
        )
        .order_by(TunedModel.created_at.desc(), TunedModel.name)
    )
    return [Model(name, since, tuned=False) for name in names] + [_shown(row) for row in made]


def retrieve(session: Session, catalog: Catalog, project_id: str, name: str) -> Model:
    """One model under the name asked for; checkpoints too. Raises NotFound."""
    if catalog.get(name) is not None:
        return Model(name, _since(session, project_id), tuned=False)
    tuned = _find(session, project_id, name)
    if tuned is None:
        raise UnknownModel(name)
    return _shown(tuned)


def delete(session: Session, catalog: Catalog, project_id: str, name: str) -> ServedModel | None:
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
    if session.scalar(select(_starts_a_job(name))):
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
    outbox.delete_folder(session, tuned.storage_prefix)
    base = catalog.get(tuned.base_model)
    return None if base is None else ServedModel(name, base, tuned.storage_prefix)


def owned(session: Session, project_id: str, name: str) -> TunedModel:
    """A tuned model or checkpoint that is the project's own, not one it may merely use.

    Raises NotFound.
    """
    found = _find(session, project_id, name)
    if found is None or found.project_id != project_id:
        raise UnknownModel(name)
    return found


def _starts_a_job(name: str) -> Exists:
    return exists().where(Job.start_model == name, Job.state.not_in(TERMINAL))


def _find(
    session: Session, project_id: str, name: str, *, lock: Literal["share", "update"] | None = None
) -> TunedModel | None:
    statement = select(TunedModel).where(
        TunedModel.name == name,
        or_(TunedModel.project_id == project_id, TunedModel.name.in_(_permitted(project_id))),
        TunedModel.deleted_at.is_(None),
    )
    if lock is not None:
        statement = statement.with_for_update(of=TunedModel, read=lock == "share")
    return session.scalars(statement).one_or_none()


def _names(project_id: str) -> CompoundSelect[str]:
    """Of the models a project may use. A union: with an OR, every project's would be looked at."""
    own = select(TunedModel.name).where(TunedModel.project_id == project_id)
    return union_all(own, _permitted(project_id))


def _permitted(project_id: str) -> Select[str]:
    return select(CheckpointPermission.model_name).where(
        CheckpointPermission.project_id == project_id
    )


def _shown(row: TunedModel) -> Model:
    return Model(row.name, row.created_at, tuned=True)


def _since(session: Session, project_id: str) -> datetime:
    """Since when the project's organization is here, and with it the base models."""
    return session.scalars(
        select(Organization.created_at).join(Project).where(Project.id == project_id)
    ).one()
