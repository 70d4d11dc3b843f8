"""/v1/embeddings"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.http.dependencies import PartsDep, PrincipalDep
from app.http.strict_json import IdsRoute
from app.inference.dependencies import EnginesDep
from app.inference.proxy import Relay, resolve
from app.monitoring.dependencies import RecorderDep
from app.wire.embeddings import Embeddings, EmbeddingsRequest

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
