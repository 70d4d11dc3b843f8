"""Models that a project can use: the catalog's base models, and its fine-tuned models."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    exists,
    func,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.catalog import Catalog, CatalogModel, ModelKind, can_continue
from app.db import outbox
from app.db.tables import (
    TERMINAL_STATES,
    Checkpoint,
    CheckpointPermission,
    FineTunedModel,
    Job,
    Organization,
    Project,
    Sweep,
    SweepState,
)
from app.errors import Forbidden, InvalidRequest, ModelNotFound, NotFound


class ModelTask(StrEnum):
    """Kind of request that a model is resolved for."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    # A grader's LLM judge.
    JUDGE = "judge"
    # Classification and Hugging Face's inference tasks.
    ENCODER_INFERENCE = "encoder_inference"


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that an engine serves as `name`: a base model or an adapter under a prefix."""

    name: str
    base: CatalogModel
    storage_prefix: str | None = None


class AdapterUnloader(Protocol):
    """The part of the engine client that deleting a model needs."""

    async def unload(self, model: ResolvedModel) -> None:
        """Tell the model's engine to unload it. Never raises."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as it appears in lists.

    `base` is None if the catalog no longer has it. The method of the job that made a fine-tuned
    model, and the `methods` that a job which starts from it may have, are there only with details.
    """

    name: str
    created_at: datetime
    is_fine_tuned: bool
    base: CatalogModel | None = None
    job_id: str | None = None
    method: str | None = None
    methods: tuple[str, ...] = ()


def resolve(
    session: Session,
    catalog: Catalog,
    project_id: str,
    name: str,
    *,
    task: ModelTask | None = None,
    param: str = "model",
    share_lock: bool = False,
) -> ResolvedModel:
    """Find a base model by id or alias, or a fine-tuned model or checkpoint by name.

    `share_lock` keeps a fine-tuned model from being deleted until the transaction ends. Raises
    ModelNotFound, and InvalidRequest for `param` if the model cannot do the task.
    """
    model = _resolve(session, catalog, project_id, name, share_lock=share_lock)
    reason = None if task is None else _find_task_error(model, task)
    if reason is not None:
        raise InvalidRequest(f"The model `{name}` {reason}", param=param)
    return model


def _resolve(
    session: Session, catalog: Catalog, project_id: str, name: str, *, share_lock: bool
) -> ResolvedModel:
    base = catalog.get(name)
    if base is not None:
        return ResolvedModel(name=base.id, base=base)
    row = _find(session, project_id, name, lock="share" if share_lock else None)
    base = None if row is None else catalog.get(row.base_model)
    if row is None or base is None:
        raise ModelNotFound(name)
    return ResolvedModel(name=row.name, base=base, storage_prefix=row.storage_prefix)


def _find_task_error(model: ResolvedModel, task: ModelTask) -> str | None:
    """Find the reason why a model of this kind cannot do the task, or None.

    Models of both kinds can be fine-tuned into classifiers, which serve both chats and encoder
    requests; only the engine knows which models are classifiers.
    """
    is_causal = model.base.kind == ModelKind.CAUSAL
    is_fine_tuned = model.storage_prefix is not None
    match task:
        case ModelTask.CHAT if not is_causal and not is_fine_tuned:
            return (
                "is an encoder and does not support chat completions; a classifier fine-tuned from "
                "it does."
            )
        case ModelTask.COMPLETION if not is_causal:
            return "is an encoder and does not generate text."
        case ModelTask.JUDGE if not is_causal:
            return "is an encoder and cannot judge."
        case ModelTask.ENCODER_INFERENCE if is_causal and not is_fine_tuned:
            return "is not an encoder; use /v1/chat/completions."
    return None


def list_(
    session: Session, catalog: Catalog, project_id: str, *, with_details: bool = False
) -> list[ModelEntry]:
    """List base models by id and alias, then fine-tuned models without checkpoints, newest first.

    Includes other projects' models that this one has permission to use.
    """
    since = _get_organization_created_at(session, project_id)
    base_models = [
        _to_base_entry(name, base, since) for base in catalog for name in (base.id, *base.aliases)
    ]
    fine_tuned = (
        select(FineTunedModel)
        .where(
            FineTunedModel.name.in_(_select_accessible_names(project_id)),
            FineTunedModel.step.is_(None),
            FineTunedModel.deleted_at.is_(None),
        )
        .order_by(FineTunedModel.created_at.desc(), FineTunedModel.name)
    )
    rows = session.execute(_add_method(fine_tuned, with_details=with_details))
    return base_models + [_to_entry(model, method, catalog) for model, method in rows]


def retrieve(
    session: Session, catalog: Catalog, project_id: str, name: str, *, with_details: bool = False
) -> ModelEntry:
    """Get a model or checkpoint, under the requested name or alias. Raises ModelNotFound."""
    base = catalog.get(name)
    if base is not None:
        since = _get_organization_created_at(session, project_id)
        return _to_base_entry(name, base, since)
    statement = _add_method(_select_by_name(project_id, name), with_details=with_details)
    row = session.execute(statement).one_or_none()
    if row is None:
        raise ModelNotFound(name)
    model, method = row
    return _to_entry(model, method, catalog)


def delete(session: Session, catalog: Catalog, project_id: str, name: str) -> ResolvedModel | None:
    """Delete a fine-tuned model or checkpoint with its weights; return the model to unload.

    Raises NotFound; Forbidden for another project's model; and InvalidRequest while a job that
    starts from it is active, since a retry of that job reads the weights again.
    """
    if catalog.get(name) is not None:
        message = f"The model '{name}' is a base model. Only fine-tuned models can be deleted."
        raise Forbidden(message, param="model")
    # Waits for a transaction that creates a job from it, which holds a share lock.
    model = _find(session, project_id, name, lock="update")
    if model is None:
        raise NotFound("That model does not exist", param="model")
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


def get_owned(session: Session, project_id: str, name: str) -> FineTunedModel:
    """Get a fine-tuned model or checkpoint that the project owns. Raises ModelNotFound."""
    row = _find(session, project_id, name)
    if row is None or row.project_id != project_id:
        raise ModelNotFound(name)
    return row


def get_exportable(
    session: Session, catalog: Catalog, project_id: str, name: str
) -> FineTunedModel:
    """Get a fine-tuned model or checkpoint to export, which only its owner may.

    Raises ModelNotFound; InvalidRequest for a base model; and Forbidden for another project's.
    """
    if catalog.get(name) is not None:
        message = f"The model '{name}' is a base model. Only fine-tuned models can be exported."
        raise InvalidRequest(message, param="model")
    row = _find(session, project_id, name)
    if row is None:
        raise ModelNotFound(name)
    if row.project_id != project_id:
        raise Forbidden(
            f"The model '{name}' belongs to another project; only that project can export it.",
            param="model",
        )
    return row


def is_in_use(name: str | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Build the condition that a job or a sweep which has not ended starts from the model."""
    return or_(
        exists().where(Job.start_model == name, Job.state.not_in(TERMINAL_STATES)),
        exists().where(Sweep.start_model == name, Sweep.state == SweepState.RUNNING),
    )


def _find(
    session: Session, project_id: str, name: str, *, lock: Literal["share", "update"] | None = None
) -> FineTunedModel | None:
    statement = _select_by_name(project_id, name)
    if lock is not None:
        statement = statement.with_for_update(of=FineTunedModel, read=lock == "share")
    return session.scalars(statement).one_or_none()


def _select_by_name(project_id: str, name: str) -> Select[FineTunedModel]:
    return select(FineTunedModel).where(
        FineTunedModel.name == name,
        or_(
            FineTunedModel.project_id == project_id,
            FineTunedModel.name.in_(_select_permitted_names(project_id)),
        ),
        FineTunedModel.deleted_at.is_(None),
    )


def _select_accessible_names(project_id: str) -> CompoundSelect[str]:
    """Select the models a project may use. A union, since an OR would scan all projects."""
    own = select(FineTunedModel.name).where(FineTunedModel.project_id == project_id)
    return union_all(own, _select_permitted_names(project_id))


def _select_permitted_names(project_id: str) -> Select[str]:
    return select(CheckpointPermission.model_name).where(
        CheckpointPermission.project_id == project_id
    )


def _to_base_entry(name: str, base: CatalogModel, since: datetime) -> ModelEntry:
    return ModelEntry(name, since, is_fine_tuned=False, base=base, methods=base.methods)


def _to_entry(row: FineTunedModel, made_by: str | None, catalog: Catalog) -> ModelEntry:
    base = catalog.get(row.base_model)
    methods: tuple[str, ...] = ()
    if base is not None and made_by is not None:
        methods = tuple(each for each in base.methods if can_continue(made_by, each))
    return ModelEntry(
        row.name,
        row.created_at,
        is_fine_tuned=True,
        base=base,
        job_id=row.job_id,
        method=made_by,
        methods=methods,
    )


def _add_method(
    models: Select[FineTunedModel], *, with_details: bool
) -> Select[FineTunedModel, str | None]:
    """Select models with the methods of the jobs that made them, or None without details."""
    if not with_details:
        return models.add_columns(null())
    return models.join(Job, Job.id == FineTunedModel.job_id).add_columns(Job.method)


def _get_organization_created_at(session: Session, project_id: str) -> datetime:
    """Get the creation time of the project's organization, which base models get too."""
    return session.scalars(
        select(Organization.created_at).join(Project).where(Project.id == project_id)
    ).one()
