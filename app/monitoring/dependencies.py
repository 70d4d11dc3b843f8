"""Dependencies of routes that record or read live traffic."""

from typing import Annotated

from fastapi import Depends, Request

from app.monitoring.recorder import TrafficRecorder


async def get_recorder(request: Request) -> TrafficRecorder:
    recorder: TrafficRecorder = request.app.state.recorder
    return recorder


RecorderDep = Annotated[TrafficRecorder, Depends(get_recorder)]
