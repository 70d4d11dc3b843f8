"""FastAPI dependency on what the process remembers of training files."""

from typing import Annotated

from fastapi import Depends, Request

from app.training_data.reasoning import ReasoningFinder


# Async, because FastAPI would run a plain function in a worker thread.
async def get_reasoning_finder(request: Request) -> ReasoningFinder:
    finder: ReasoningFinder = request.app.state.reasoning_finder
    return finder


ReasoningFinderDep = Annotated[ReasoningFinder, Depends(get_reasoning_finder)]
