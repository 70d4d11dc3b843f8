"""`python -m tests.faults.echo_engine PORT`: an engine that answers each chat with its own text."""

import asyncio
import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

# So that many requests are in flight when it is killed.
ANSWER_SECONDS = 0.05

app = FastAPI()


@app.get("/health")
async def health() -> JSONResponse:
    return JSONResponse({})


@app.post("/v1/chat/completions")
async def chat(request: Request) -> JSONResponse:
    body = await request.json()
    await asyncio.sleep(ANSWER_SECONDS)
    text = f"echo: {body['messages'][-1]['content']}"
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return JSONResponse(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    )


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
