"""/v1/chat/completions"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.errors import InvalidRequest
from app.http.dependencies import AppStateDep, PrincipalDep
from app.http.openapi import json_or_sse
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.proxy import ProxyResponse, resolve_model
from app.monitoring.dependencies import RecorderDep
from app.wire.chat import ChatCompletionResponse, CreateChatCompletion

router = APIRouter(prefix="/v1/chat", tags=["chat"], route_class=StrictRoute)

CHAT_COMPLETIONS_PATH = "/v1/chat/completions"


@router.post("/completions", responses=json_or_sse(ChatCompletionResponse, "chat.completion.chunk"))
async def create_chat_completion(
    asked: CreateChatCompletion,
    parts: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Answer a conversation, in one piece or as a stream of events."""
    served = await resolve_model(parts, principal.project_id, asked.model)
    if served.base.kind != "causal" and served.storage_prefix is None:
        raise InvalidRequest(
            f"The model `{asked.model}` is an encoder and does not answer chats; a classifier "
            "made from it does.",
            param="model",
        )
    return ProxyResponse(
        engines, recorder, served, CHAT_COMPLETIONS_PATH, asked.to_engine_request(served.name)
    )
