"""/v1/chat/completions"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.errors import InvalidRequest
from app.http.dependencies import PartsDep, PrincipalDep
from app.http.openapi import or_events
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.proxy import Relay, resolve
from app.monitoring.dependencies import RecorderDep
from app.wire.chat import ChatAnswer, CreateChatCompletion

router = APIRouter(prefix="/v1/chat", tags=["chat"], route_class=StrictRoute)

PATH = "/v1/chat/completions"


@router.post("/completions", responses=or_events(ChatAnswer, "chat.completion.chunk"))
async def create(
    asked: CreateChatCompletion,
    parts: PartsDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Answer a conversation, in one piece or as a stream of events."""
    served = await resolve(parts, principal.project_id, asked.model)
    if served.base.kind != "causal" and served.storage_prefix is None:
        raise InvalidRequest(
            f"The model `{asked.model}` is an encoder and does not answer chats; a classifier "
            "made from it does.",
            param="model",
        )
    return Relay(engines, recorder, served, PATH, asked.for_engine(served.name))
