"""FastAPI dependency on what the process remembers of training files."""

from typing import Annotated

from fastapi import Depends, Request

from app.training_data.memory import TrainingDataMemory


# Async, because FastAPI would run a plain function in a worker thread.
async def get_memory(request: Request) -> TrainingDataMemory:
    memory: TrainingDataMemory = request.app.state.training_data
    return memory


TrainingDataDep = Annotated[TrainingDataMemory, Depends(get_memory)]
