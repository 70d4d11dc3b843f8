"""Serializers of models and aliases: registry entries and rows to wire objects."""

from app.db.tables import ModelAlias
from app.models.registry import ModelEntry
from app.models.schemas import AliasObject, AliasStatus, ModelDetails, ModelObject


def serialize_model(
    model: ModelEntry, organization: str, *, with_details: bool = False
) -> ModelObject:
    owner = organization if model.is_fine_tuned else "system"
    details = _serialize_details(model) if with_details else None
    return ModelObject(id=model.name, created=model.created_at, owned_by=owner, details=details)


def _serialize_details(model: ModelEntry) -> ModelDetails | None:
    if model.base is None:
        return None
    return ModelDetails(
        base_model=model.base.id,
        kind=model.base.kind,
        methods=list(model.methods),
        context_length=model.base.context_length,
        license=model.base.license or None,
        engine=model.base.engine_kind,
        job_id=model.job_id,
        method=model.method,
        alias_of=model.alias_of,
    )


def serialize_alias(row: ModelAlias, status: AliasStatus) -> AliasObject:
    return AliasObject(
        name=row.name,
        model=row.model_name,
        status=status,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
