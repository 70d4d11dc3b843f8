"""Models as wire objects."""

from app.models.registry import Model
from app.models.schemas import ModelObject


def model(found: Model, organization: str) -> ModelObject:
    owner = organization if found.tuned else "system"
    return ModelObject(id=found.name, created=found.created_at, owned_by=owner)
