"""/v1/models"""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Request

from app.http.dependencies import PartsDep, PrincipalDep, ReadingDep, SessionDep
from app.models import registry
from app.models import serializers as model_shapes
from app.models.registry import AdapterUnloader
from app.models.schemas import ModelDeleted, ModelList, ModelObject

router = APIRouter(prefix="/v1/models", tags=["models"])


async def get_unloader(request: Request) -> AdapterUnloader:
    unloader: AdapterUnloader = request.app.state.engines
    return unloader


UnloaderDep = Annotated[AdapterUnloader, Depends(get_unloader)]

# Names hold '/' and ':', and servers decode %2F before they look for the route: so they are paths.


@router.get("")
def list_models(parts: PartsDep, principal: PrincipalDep, session: ReadingDep) -> ModelList:
    """Base models, also by their aliases, and the project's tuned models."""
    found = registry.list_(session, parts.catalog, principal.project_id)
    return ModelList(data=[model_shapes.model(model, principal.organization) for model in found])


@router.get("/{model:path}")
def retrieve(
    model: str, parts: PartsDep, principal: PrincipalDep, session: ReadingDep
) -> ModelObject:
    found = registry.retrieve(session, parts.catalog, principal.project_id, model)
    return model_shapes.model(found, principal.organization)


@router.delete("/{model:path}")
def delete(
    model: str,
    parts: PartsDep,
    unloader: UnloaderDep,
    principal: PrincipalDep,
    session: SessionDep,
    later: BackgroundTasks,
) -> ModelDeleted:
    """Delete a tuned model, with its weights."""
    served = registry.delete(session, parts.catalog, principal.project_id, model)
    if served is not None:
        # When the answer is sent and the deletion committed: it must not wait for the engine.
        later.add_task(unloader.unload, served)
    return ModelDeleted(id=model, deleted=True)
