"""Aliases: short names of a project for its fine-tuned models, which can be pointed to others."""

from collections.abc import Sequence

from sqlalchemy import and_, func, select
from sqlalchemy import update as update_rows
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import FineTunedModel, ModelAlias, Project
from app.errors import InvalidRequest, NotFound
from app.models import registry
from app.models.schemas import AliasStatus, CreateAlias

MAX_ALIASES = 100


def create(session: Session, catalog: Catalog, project_id: str, body: CreateAlias) -> ModelAlias:
    """Create an alias. Raises ModelNotFound, and InvalidRequest for a name that is taken."""
    if catalog.get(body.name) is not None:
        raise InvalidRequest(
            f"A base model has the name '{body.name}'. Choose another name for the alias.",
            param="name",
            code="alias_name_taken",
        )
    _check_quota(session, project_id)
    if session.get(ModelAlias, (project_id, body.name)) is not None:
        raise InvalidRequest(
            f"The project has the alias '{body.name}' already. Point it to another model by "
            f"POST /v1/aliases/{body.name}.",
            param="name",
            code="alias_name_taken",
        )
    model = _find_target(session, catalog, project_id, body.model)
    alias = ModelAlias(project_id=project_id, name=body.name, model_name=model)
    session.add(alias)
    session.flush()
    return alias


def list_(session: Session, project_id: str) -> list[ModelAlias]:
    """List a project's aliases by name: there are few."""
    statement = select(ModelAlias).where(ModelAlias.project_id == project_id)
    return list(session.scalars(statement.order_by(ModelAlias.name)))


def get(session: Session, project_id: str, name: str, *, lock: bool = False) -> ModelAlias:
    """Get an alias of the project. Raises NotFound."""
    statement = select(ModelAlias).where(
        ModelAlias.project_id == project_id, ModelAlias.name == name
    )
    if lock:
        statement = statement.with_for_update()
    alias = session.scalars(statement).one_or_none()
    if alias is None:
        raise NotFound(f"No such alias: {name}", param="alias")
    return alias


def update(
    session: Session, catalog: Catalog, project_id: str, name: str, model: str
) -> ModelAlias:
    """Point an alias to another model: requests after the commit get that one.

    Raises NotFound, and InvalidRequest for a base model.
    """
    alias = get(session, project_id, name, lock=True)
    alias.model_name = _find_target(session, catalog, project_id, model)
    alias.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(alias)
    return alias


def delete(session: Session, project_id: str, name: str) -> None:
    """Delete an alias, effective with the commit. Raises NotFound."""
    session.delete(get(session, project_id, name, lock=True))


def find_statuses(
    session: Session, catalog: Catalog, project_id: str, aliases: list[ModelAlias]
) -> dict[str, AliasStatus]:
    """Find the status of each alias, by its name."""
    models = {alias.model_name for alias in aliases}
    statement = select(FineTunedModel.name, FineTunedModel.base_model).where(
        FineTunedModel.name.in_(models), registry.is_accessible(project_id)
    )
    rows = session.execute(statement)
    usable = {name for name, base in rows if catalog.get(base) is not None}
    return {alias.name: _choose_status(catalog, alias, usable) for alias in aliases}


def lock_aliased_models(session: Session, names: Sequence[str]) -> set[str]:
    """Lock models, and list those of which their project has an alias.

    A transaction that creates an alias of one holds a share lock on it, and has ended then.
    """
    if not names:
        return set()
    models = select(FineTunedModel.name).where(FineTunedModel.name.in_(names))
    session.execute(models.order_by(FineTunedModel.name).with_for_update())
    is_own = and_(
        ModelAlias.model_name == FineTunedModel.name,
        ModelAlias.project_id == FineTunedModel.project_id,
    )
    return set(session.scalars(models.join(ModelAlias, is_own)))


def repoint_all(session: Session, before: str, after: str) -> None:
    """Point all aliases of a model to the one that takes its place, with the same weights."""
    session.execute(
        update_rows(ModelAlias)
        .where(ModelAlias.model_name == before)
        .values(model_name=after, updated_at=func.clock_timestamp())
    )


def _choose_status(catalog: Catalog, alias: ModelAlias, usable: set[str]) -> AliasStatus:
    if catalog.get(alias.name) is not None:
        return AliasStatus.NAME_TAKEN
    return AliasStatus.ACTIVE if alias.model_name in usable else AliasStatus.MODEL_UNAVAILABLE


def _find_target(session: Session, catalog: Catalog, project_id: str, model: str) -> str:
    """Find the name of the model to point to. Raises ModelNotFound and InvalidRequest."""
    # Locked, or it could be deleted before the alias exists to protect it.
    resolved = registry.resolve(session, catalog, project_id, model, share_lock=True)
    if resolved.storage_prefix is None:
        raise InvalidRequest(
            f"The model '{model}' is a base model. An alias is of a fine-tuned model or a "
            "checkpoint; the operator gives base models other names in models.toml.",
            param="model",
            code="invalid_value",
        )
    return resolved.name


def _check_quota(session: Session, project_id: str) -> None:
    # The lock serializes creations within a project: concurrent ones would not count each other.
    session.get_one(Project, project_id, with_for_update={"key_share": True})
    count = select(func.count()).where(ModelAlias.project_id == project_id)
    if session.scalars(count).one() >= MAX_ALIASES:
        raise InvalidRequest(f"A project can have at most {MAX_ALIASES} aliases. Delete one first.")
