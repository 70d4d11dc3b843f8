"""/v1/completions"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.errors import InvalidRequest
from app.http.dependencies import AppStateDep, PrincipalDep
from app.http.openapi import json_or_sse
from app.http.strict_json import TokenIdsRoute
from app.inference.dependencies import EnginesDep
from app.inference.proxy import ProxyResponse, resolve_model
from app.monitoring.dependencies import RecorderDep
from app.wire.completions import Completion, CompletionRequest

router = APIRouter(prefix="/v1", tags=["completions"], route_class=TokenIdsRoute)

COMPLETIONS_PATH = "/v1/completions"


@router.post("/completions", responses=json_or_sse(Completion, "text_completion"))
async def create_completion(
    asked: CompletionRequest,
    parts: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Continue a text, in one piece or as a stream of events."""
    served = await resolve_model(parts, principal.project_id, asked.model)
    if served.base.kind != "causal":
        raise InvalidRequest(
            f"The model `{asked.model}` is an encoder and does not write texts.", param="model"
        )
    # The prompt also where the client has left it to us: another engine may have no default.
    body = {**asked.model_dump(exclude_unset=True), "prompt": asked.prompt, "model": served.name}
    return ProxyResponse(engines, recorder, served, COMPLETIONS_PATH, body)
