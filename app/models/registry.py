"""Models that a project can use: the catalog's base models, and its fine-tuned models, also by
the project's aliases."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from app.catalog import FINE_TUNED_PREFIX, Catalog, CatalogModel, ModelKind, can_continue
from app.db.tables import (
    CheckpointPermission,
    FineTunedModel,
    Job,
    ModelAlias,
    Organization,
    Project,
)
from app.errors import Forbidden, InvalidRequest, ModelNotFound


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


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as it appears in lists.

    `base` is None if the catalog no longer has it, `alias_of` the id or name of the model if `name`
    is an alias. The method of the job that made a fine-tuned
    model, and the `methods` that a job which starts from it may have, are there only with details.
    """

    name: str
    created_at: datetime
    is_fine_tuned: bool
    base: CatalogModel | None = None
    alias_of: str | None = None
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
    """Find a base model by id or alias, or a fine-tuned model or checkpoint by name or alias.

    One query finds a model by either name, so that an alias costs requests nothing. `share_lock`
    keeps a fine-tuned model from being deleted until the transaction ends. Raises ModelNotFound,
    and InvalidRequest for `param` if the model cannot do the task.
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
    row = find(session, project_id, name, lock="share" if share_lock else None)
    base = None if row is None else catalog.get(row.base_model)
    if row is None or base is None:
        raise _build_not_found(session, project_id, name)
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
    """List base models by id and alias, then fine-tuned models without checkpoints, newest first,
    then the project's aliases by name.

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
    return [
        *base_models,
        *(_to_entry(model.name, model, method, catalog) for model, method in rows),
        *_list_aliases(session, catalog, project_id, with_details=with_details),
    ]


def _list_aliases(
    session: Session, catalog: Catalog, project_id: str, *, with_details: bool
) -> list[ModelEntry]:
    """List the aliases by which a model can be requested, as models."""
    models = (
        select(FineTunedModel)
        .join(ModelAlias, ModelAlias.model_name == FineTunedModel.name)
        .where(ModelAlias.project_id == project_id, is_accessible(project_id))
        .order_by(ModelAlias.name)
    )
    statement = _add_method(models, with_details=with_details).add_columns(ModelAlias.name)
    return [
        _to_entry(name, model, method, catalog)
        for model, method, name in session.execute(statement)
        # A base model that was added later has the name.
        if catalog.get(name) is None
    ]


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
        raise _build_not_found(session, project_id, name)
    model, method = row
    return _to_entry(name, model, method, catalog)


def get_owned(session: Session, project_id: str, name: str) -> FineTunedModel:
    """Get a fine-tuned model or checkpoint that the project owns. Raises ModelNotFound."""
    row = find(session, project_id, name)
    if row is None or row.project_id != project_id:
        raise _build_not_found(session, project_id, name)
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
    row = find(session, project_id, name)
    if row is None:
        raise _build_not_found(session, project_id, name)
    if row.project_id != project_id:
        raise Forbidden(
            f"The model '{name}' belongs to another project; only that project can export it.",
            param="model",
        )
    return row


def find_stored_name(session: Session, catalog: Catalog, project_id: str, name: str) -> str:
    """Find the name under which traffic and answers of a model are stored: an alias has none of its
    own. Any other name is returned as it is.
    """
    base = catalog.get(name)
    if base is not None:
        return base.id
    if name.startswith(FINE_TUNED_PREFIX):
        return name
    return session.scalars(_select_target(project_id, name)).one_or_none() or name


def find(
    session: Session, project_id: str, name: str, *, lock: Literal["share", "update"] | None = None
) -> FineTunedModel | None:
    """Find a fine-tuned model or checkpoint that the project can use, by name or alias."""
    statement = _select_by_name(project_id, name)
    if lock is not None:
        statement = statement.with_for_update(of=FineTunedModel, read=lock == "share")
    return session.scalars(statement).one_or_none()


def _select_by_name(project_id: str, name: str) -> Select[FineTunedModel]:
    """Select the model of this name; of any other name, the one that the alias points to."""
    is_chosen = FineTunedModel.name == name
    if not name.startswith(FINE_TUNED_PREFIX):
        is_chosen = FineTunedModel.name == _select_target(project_id, name).scalar_subquery()
    return select(FineTunedModel).where(is_chosen, is_accessible(project_id))


def is_accessible(project_id: str) -> ColumnElement[bool]:
    """Build the condition that a fine-tuned model is there and the project may use it."""
    return and_(
        or_(
            FineTunedModel.project_id == project_id,
            FineTunedModel.name.in_(_select_permitted_names(project_id)),
        ),
        FineTunedModel.deleted_at.is_(None),
    )


def _select_target(project_id: str, alias: str) -> Select[str]:
    return select(ModelAlias.model_name).where(
        ModelAlias.project_id == project_id, ModelAlias.name == alias
    )


def _build_not_found(session: Session, project_id: str, name: str) -> ModelNotFound:
    """Build the error of a model that was not found: for an alias, it says which one is gone."""
    target = session.scalars(_select_target(project_id, name)).one_or_none()
    return ModelNotFound(name, alias_of=target)


def _select_accessible_names(project_id: str) -> CompoundSelect[str]:
    """Select the models a project may use. A union, since an OR would scan all projects."""
    own = select(FineTunedModel.name).where(FineTunedModel.project_id == project_id)
    return union_all(own, _select_permitted_names(project_id))


def _select_permitted_names(project_id: str) -> Select[str]:
    return select(CheckpointPermission.model_name).where(
        CheckpointPermission.project_id == project_id
    )


def _to_base_entry(name: str, base: CatalogModel, since: datetime) -> ModelEntry:
    alias_of = None if base.id == name else base.id
    return ModelEntry(
        name, since, is_fine_tuned=False, base=base, alias_of=alias_of, methods=base.methods
    )


def _to_entry(name: str, row: FineTunedModel, made_by: str | None, catalog: Catalog) -> ModelEntry:
    base = catalog.get(row.base_model)
    methods: tuple[str, ...] = ()
    if base is not None and made_by is not None:
        methods = tuple(each for each in base.methods if can_continue(made_by, each))
    return ModelEntry(
        name,
        row.created_at,
        is_fine_tuned=True,
        base=base,
        alias_of=None if row.name == name else row.name,
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
