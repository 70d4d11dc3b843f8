"""Serializers of models: registry entries to wire objects."""

from app.models.registry import ModelEntry
from app.models.schemas import ModelObject


def serialize_model(model: ModelEntry, organization: str) -> ModelObject:
    owner = organization if model.is_fine_tuned else "system"
    return ModelObject(id=model.name, created=model.created_at, owned_by=owner)
