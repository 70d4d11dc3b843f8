"""/v1/classify and Hugging Face's /models/{model}"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.errors import InvalidRequest
from app.http.dependencies import Parts, PartsDep, PrincipalDep
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.proxy import Relay, resolve
from app.models.registry import ServedModel
from app.monitoring.dependencies import RecorderDep
from app.wire.encoders import Classified, ClassifyRequest, InferenceRequest, Inferred

router = APIRouter(tags=["encoders"], route_class=StrictRoute)


@router.post("/v1/classify", responses={200: {"model": Classified}})
async def classify(
    asked: ClassifyRequest,
    parts: PartsDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Say which label each text has."""
    served = await _encoder(parts, principal.project_id, asked.model)
    body = {**asked.model_dump(exclude_unset=True), "model": served.name}
    return Relay(engines, recorder, served, "/v1/classify", body)


@router.post("/models/{model:path}", responses={200: {"model": Inferred}})
async def infer(
    model: str,
    asked: InferenceRequest,
    parts: PartsDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Do what the model is for, in the shape of Hugging Face's inference API."""
    served = await _encoder(parts, principal.project_id, model)
    body = asked.model_dump(exclude_unset=True)
    return Relay(engines, recorder, served, f"/models/{served.name}", body)


async def _encoder(parts: Parts, project_id: str, name: str) -> ServedModel:
    served = await resolve(parts, project_id, name)
    # A model tuned from a causal one may be a classifier: its engine knows.
    if served.base.kind != "encoder" and served.storage_prefix is None:
        raise InvalidRequest(f"The model `{name}` is no encoder; ask it in a chat.", param="model")
    return served
