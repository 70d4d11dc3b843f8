"""Dependencies of routes that ask an engine."""

from typing import Annotated

from fastapi import Depends, Request

from app.inference.engines import Engines


async def get_engines(request: Request) -> Engines:
    engines: Engines = request.app.state.engines
    return engines


EnginesDep = Annotated[Engines, Depends(get_engines)]
