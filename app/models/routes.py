"""/v1/models"""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Request

from app.http.dependencies import AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
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
def list_models(parts: AppStateDep, principal: PrincipalDep, session: ReadSessionDep) -> ModelList:
    """Base models, also by their aliases, and the project's tuned models."""
    found = registry.list_(session, parts.catalog, principal.project_id)
    return ModelList(
        data=[model_shapes.serialize_model(model, principal.organization_slug) for model in found]
    )


@router.get("/{model:path}")
def retrieve_model(
    model: str, parts: AppStateDep, principal: PrincipalDep, session: ReadSessionDep
) -> ModelObject:
    found = registry.retrieve(session, parts.catalog, principal.project_id, model)
    return model_shapes.serialize_model(found, principal.organization_slug)


@router.delete("/{model:path}")
def delete_model(
    model: str,
    parts: AppStateDep,
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
