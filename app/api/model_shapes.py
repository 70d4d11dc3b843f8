"""Models as wire objects."""

from app.schemas.models import ModelObject
from app.services.models import Model


def model(found: Model, organization: str) -> ModelObject:
    owner = organization if found.tuned else "system"
    return ModelObject(id=found.name, created=found.created_at, owned_by=owner)
