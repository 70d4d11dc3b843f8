"""FastAPI dependency on the engine client."""

from typing import Annotated

from fastapi import Depends, Request

from app.inference.engines import EngineClient


# Async, because FastAPI would run a plain function in a worker thread.
async def get_engines(request: Request) -> EngineClient:
    engines: EngineClient = request.app.state.engines
    return engines


EnginesDep = Annotated[EngineClient, Depends(get_engines)]
