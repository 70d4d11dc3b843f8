"""FastAPI dependency on the traffic recorder."""

from typing import Annotated

from fastapi import Depends, Request

from app.monitoring.recorder import TrafficRecorder


# Async, because FastAPI would run a plain function in a worker thread.
async def get_recorder(request: Request) -> TrafficRecorder:
    recorder: TrafficRecorder = request.app.state.recorder
    return recorder


RecorderDep = Annotated[TrafficRecorder, Depends(get_recorder)]
