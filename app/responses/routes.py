"""Routes of /v1/responses."""

from time import time

from fastapi import APIRouter
from fastapi.responses import Response

from app import ids
from app.errors import ModelNotFound
from app.http.dependencies import AppStateDep, PrincipalDep
from app.http.openapi import error_responses, json_or_sse
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.endpoints import CHAT_COMPLETIONS_PATH
from app.inference.proxy import ProxyResponse, resolve_model
from app.models.registry import ModelTask
from app.monitoring.dependencies import RecorderDep
from app.responses import schemas
from app.responses.chat_request import build_chat_body
from app.responses.input_items import describe_input
from app.responses.relay import ResponseTranslator
from app.responses.schemas import CreateResponse
from app.responses.serializers import new_response

router = APIRouter(
    prefix="/v1/responses",
    tags=["responses"],
    route_class=StrictRoute,
    responses=error_responses(ModelNotFound),
)


@router.post("", responses=json_or_sse(schemas.Response, "response event"))
async def create_response(
    body: CreateResponse,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Answer text or items, as one response or as a stream of events."""
    model = await resolve_model(state, principal.project_id, body.model, ModelTask.CHAT)
    response_id = ids.response_id()
    items = describe_input(body.input or (), response_id)
    request = build_chat_body(body, items, model.name)
    response = new_response(
        body, response_id, model=model.name, created_at=int(time()), is_stored=False
    )
    return ProxyResponse(
        engines,
        recorder,
        model,
        CHAT_COMPLETIONS_PATH,
        request,
        principal=principal,
        translator=ResponseTranslator(response, None),
    )
