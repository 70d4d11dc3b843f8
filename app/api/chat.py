"""/v1/chat/completions"""

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import Response

from app.api.bodies import StrictRoute
from app.api.deps import Parts, PartsDep, PrincipalDep
from app.api.relay import Relay
from app.db.session import transaction
from app.engines import ServedModel
from app.errors import InvalidRequest
from app.schemas.chat import CreateChatCompletion
from app.services import models

router = APIRouter(prefix="/v1/chat", tags=["chat"], route_class=StrictRoute)

PATH = "/v1/chat/completions"


@router.post("/completions")
async def create(asked: CreateChatCompletion, parts: PartsDep, principal: PrincipalDep) -> Response:
    """Answer a conversation, in one piece or as a stream of events."""
    served = await to_thread.run_sync(_resolve, parts, principal.project_id, asked.model)
    if served.base.kind != "causal":
        raise InvalidRequest(
            f"The model `{asked.model}` is an encoder and does not answer chats.", param="model"
        )
    return Relay(parts.engines, served, PATH, asked.for_engine(served.name))


def _resolve(parts: Parts, project_id: str, name: str) -> ServedModel:
    # A session of its own: the request's would stay open for as long as the engine answers.
    with transaction(parts.sessions) as session:
        return models.resolve(session, parts.catalog, project_id, name)
