"""/v1/models"""

from fastapi import APIRouter, BackgroundTasks

from app.api import shapes
from app.api.deps import PartsDep, PrincipalDep, ReadingDep, SessionDep
from app.schemas.models import ModelDeleted, ModelList, ModelObject
from app.services import models

router = APIRouter(prefix="/v1/models", tags=["models"])

# Names hold '/' and ':', and servers decode %2F before they look for the route: so they are paths.


@router.get("")
def list_models(parts: PartsDep, principal: PrincipalDep, session: ReadingDep) -> ModelList:
    """Base models, also by their aliases, and the project's tuned models."""
    found = models.list_(session, parts.catalog, principal.project_id)
    return ModelList(data=[shapes.model(model, principal.organization) for model in found])


@router.get("/{model:path}")
def retrieve(
    model: str, parts: PartsDep, principal: PrincipalDep, session: ReadingDep
) -> ModelObject:
    found = models.retrieve(session, parts.catalog, principal.project_id, model)
    return shapes.model(found, principal.organization)


@router.delete("/{model:path}")
def delete(
    model: str,
    parts: PartsDep,
    principal: PrincipalDep,
    session: SessionDep,
    later: BackgroundTasks,
) -> ModelDeleted:
    """Delete a tuned model, with its weights."""
    served = models.delete(session, parts.catalog, principal.project_id, model)
    if served is not None:
        # When the answer is sent and the deletion committed: it must not wait for the engine.
        later.add_task(parts.engines.unload, served)
    return ModelDeleted(id=model, deleted=True)
