"""Dependencies of routes that ask an engine."""

from typing import Annotated

from fastapi import Depends, Request

from app.inference.engines import EngineClient


async def get_engines(request: Request) -> EngineClient:
    engines: EngineClient = request.app.state.engines
    return engines


EnginesDep = Annotated[EngineClient, Depends(get_engines)]
