"""FastAPI dependency on what the process remembers of training files."""

from typing import Annotated

from fastapi import Depends, Request

from app.training_data.cache import TrainingDataCache


# Async, because FastAPI would run a plain function in a worker thread.
async def get_cache(request: Request) -> TrainingDataCache:
    cache: TrainingDataCache = request.app.state.training_data
    return cache


TrainingDataDep = Annotated[TrainingDataCache, Depends(get_cache)]
