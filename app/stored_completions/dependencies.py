"""FastAPI dependency on the recorder of chat completions."""

from typing import Annotated

from fastapi import Depends, Request

from app.stored_completions.recorder import CompletionRecorder


# Async, because FastAPI would run a plain function in a worker thread.
async def get_completion_recorder(request: Request) -> CompletionRecorder:
    recorder: CompletionRecorder = request.app.state.completion_recorder
    return recorder


CompletionRecorderDep = Annotated[CompletionRecorder, Depends(get_completion_recorder)]
