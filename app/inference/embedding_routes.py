"""/v1/embeddings"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.http.dependencies import AppStateDep, PrincipalDep
from app.http.strict_json import TokenIdsRoute
from app.inference.dependencies import EnginesDep
from app.inference.proxy import ProxyResponse, resolve_model
from app.monitoring.dependencies import RecorderDep
from app.wire.embeddings import EmbeddingsRequest, EmbeddingsResponse

router = APIRouter(prefix="/v1", tags=["embeddings"], route_class=TokenIdsRoute)

EMBEDDINGS_PATH = "/v1/embeddings"


@router.post("/embeddings", responses={200: {"model": EmbeddingsResponse}})
async def create_embeddings(
    asked: EmbeddingsRequest,
    parts: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Give a vector for each text."""
    served = await resolve_model(parts, principal.project_id, asked.model)
    body = {**asked.model_dump(exclude_unset=True), "model": served.name}
    return ProxyResponse(engines, recorder, served, EMBEDDINGS_PATH, body)
