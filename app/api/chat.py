"""/v1/chat/completions"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.bodies import StrictRoute
from app.api.deps import PartsDep, PrincipalDep
from app.api.document import or_events
from app.api.engine_deps import EnginesDep
from app.api.recorder_deps import RecorderDep
from app.api.relay import Relay, resolve
from app.errors import InvalidRequest
from app.schemas.chat import ChatAnswer, CreateChatCompletion

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
