"""Models as wire objects."""

from app.models.registry import ModelEntry
from app.models.schemas import ModelObject


def serialize_model(found: ModelEntry, organization: str) -> ModelObject:
    owner = organization if found.is_fine_tuned else "system"
    return ModelObject(id=found.name, created=found.created_at, owned_by=owner)
