"""/v1/classify and Hugging Face's /models/{model}"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.errors import InvalidRequest
from app.http.dependencies import AppState, AppStateDep, PrincipalDep
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.proxy import ProxyResponse, resolve_model
from app.models.registry import ResolvedModel
from app.monitoring.dependencies import RecorderDep
from app.wire.encoders import ClassifyRequest, ClassifyResponse, InferenceRequest, InferenceResponse

router = APIRouter(tags=["encoders"], route_class=StrictRoute)


@router.post("/v1/classify", responses={200: {"model": ClassifyResponse}})
async def classify(
    asked: ClassifyRequest,
    parts: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Say which label each text has."""
    served = await _resolve_encoder(parts, principal.project_id, asked.model)
    body = {**asked.model_dump(exclude_unset=True), "model": served.name}
    return ProxyResponse(engines, recorder, served, "/v1/classify", body)


@router.post("/models/{model:path}", responses={200: {"model": InferenceResponse}})
async def run_inference(
    model: str,
    asked: InferenceRequest,
    parts: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Do what the model is for, in the shape of Hugging Face's inference API."""
    served = await _resolve_encoder(parts, principal.project_id, model)
    body = asked.model_dump(exclude_unset=True)
    return ProxyResponse(engines, recorder, served, f"/models/{served.name}", body)


async def _resolve_encoder(parts: AppState, project_id: str, name: str) -> ResolvedModel:
    served = await resolve_model(parts, project_id, name)
    # A model tuned from a causal one may be a classifier: its engine knows.
    if served.base.kind != "encoder" and served.storage_prefix is None:
        raise InvalidRequest(f"The model `{name}` is no encoder; ask it in a chat.", param="model")
    return served
