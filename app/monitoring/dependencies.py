"""Dependencies of routes that record or read live traffic."""

from typing import Annotated

from fastapi import Depends, Request

from app.monitoring.recorder import Recorder


async def get_recorder(request: Request) -> Recorder:
    recorder: Recorder = request.app.state.recorder
    return recorder


RecorderDep = Annotated[Recorder, Depends(get_recorder)]
