"""FastAPI dependency: the feed of changes of this process."""

from typing import Annotated

from fastapi import Depends, Request

from app.changes.feed import ChangeFeed


async def get_feed(request: Request) -> ChangeFeed:
    feed: ChangeFeed = request.app.state.changes
    return feed


FeedDep = Annotated[ChangeFeed, Depends(get_feed)]
