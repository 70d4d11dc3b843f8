"""Route of the stream of changes."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from app.auth.principals import Principal
from app.changes.dependencies import FeedDep
from app.changes.feed import ChangeFeed, Notice
from app.changes.schemas import ChangeNotice, NoticeType
from app.http.dependencies import PrincipalDep
from app.http.openapi import DocumentedRoute, sse

router = APIRouter(tags=["changes"], route_class=DocumentedRoute)

KEEP_ALIVE_INTERVAL_SECONDS = 15.0
KEEP_ALIVE = b": keep-alive\n\n"


@router.get(
    "/v1/changes",
    response_class=StreamingResponse,
    responses=sse(ChangeNotice, "The JSON of a `change`"),
)
async def stream_changes(
    principal: PrincipalDep,
    feed: FeedDep,
    last_event_id: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StreamingResponse:
    """Stream notices of changes of the project's jobs, files, batches, eval runs and exports, as
    server-sent events (extension)."""
    is_resumed = last_event_id is not None
    return StreamingResponse(
        _stream(feed, principal, is_resumed=is_resumed),
        media_type="text/event-stream",
        # nginx would otherwise collect notices until its buffer is full.
        headers={"x-accel-buffering": "no"},
    )


async def _stream(
    feed: ChangeFeed, principal: Principal, *, is_resumed: bool
) -> AsyncIterator[bytes]:
    with feed.subscribe(principal.project_id, key_id=principal.key_id) as subscription:
        while True:
            notices = await subscription.take(KEEP_ALIVE_INTERVAL_SECONDS)
            if notices:
                yield b"".join(_encode(notice, is_resumed=is_resumed) for notice in notices)
            elif subscription.is_closed:
                return
            else:
                yield KEEP_ALIVE


def _encode(notice: Notice, *, is_resumed: bool) -> bytes:
    """Encode a notice as a server-sent event (HTML Living Standard, section 9.2)."""
    is_reset = is_resumed and notice.type is NoticeType.READY
    type_ = NoticeType.RESET if is_reset else notice.type
    data = ChangeNotice(type=type_, id=notice.id, seq=notice.seq).model_dump_json()
    return f"id: {notice.seq}\ndata: {data}\n\n".encode()
