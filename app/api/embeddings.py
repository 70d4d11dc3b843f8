"""/v1/embeddings"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.bodies import IdsRoute
from app.api.deps import PartsDep, PrincipalDep
from app.api.engine_deps import EnginesDep
from app.api.recorder_deps import RecorderDep
from app.api.relay import Relay, resolve
from app.schemas.embeddings import Embeddings, EmbeddingsRequest

router = APIRouter(prefix="/v1", tags=["embeddings"], route_class=IdsRoute)

PATH = "/v1/embeddings"


@router.post("/embeddings", responses={200: {"model": Embeddings}})
async def create(
    asked: EmbeddingsRequest,
    parts: PartsDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Give a vector for each text."""
    served = await resolve(parts, principal.project_id, asked.model)
    body = {**asked.model_dump(exclude_unset=True), "model": served.name}
    return Relay(engines, recorder, served, PATH, body)
