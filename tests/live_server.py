"""Real servers for API tests: uvicorn on a free port, in a thread; and a fake engine."""

import asyncio
import json
import queue
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from app.histogram_bins import CONFIDENCE_BINS, TEXT_LENGTH_BINS
from app.http_server.protocol import BoundedHttpProtocol
from app.wire.engine_metadata import METADATA_HEADER, EngineMetadata

CONTEXT_TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 8192 tokens.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
}
MODEL_FACTS: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_layers": 30,
    "num_parameters": 10**8,
    "layer_parameters": 10**8,
    "bytes_per_parameter": 2,
    "gigaflops": 100.0,
}
MODEL_NOT_FOUND = {
    "error": {"message": "unknown", "type": "x", "param": None, "code": "model_not_found"}
}

LABELS = ["billing", "shipping"]


@contextmanager
def run_server(app: ASGIApp) -> Iterator[str]:
    """Serve an app in a thread. Yields its URL."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        http=BoundedHttpProtocol,
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)


@dataclass
class FakeEngine:
    """A fake inference engine that records its requests.

    The content of a request's messages selects its behaviour, so that tests need not share state.
    """

    url: str = ""
    loaded: set[str] = field(default_factory=set)
    unload_requests: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)
    healthy: bool = True
    facts: Mapping[str, Any] = field(default_factory=lambda: MODEL_FACTS)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/health", self.health)
        app.add_api_route("/v1/load_lora_adapter", self.load, methods=["POST"])
        app.add_api_route("/v1/unload_lora_adapter", self.unload, methods=["POST"])
        app.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        app.add_api_route("/v1/completions", self.completions, methods=["POST"])
        app.add_api_route("/v1/embeddings", self.embeddings, methods=["POST"])
        app.add_api_route("/v1/classify", self.classify, methods=["POST"])
        app.add_api_route("/models/{model:path}", self.run_task, methods=["POST"])
        app.add_api_route("/v1/render_training_rows", self.render_rows, methods=["POST"])
        return app

    async def render_rows(self, request: Request) -> Response:
        """Each row is one sequence of 7 tokens, 3 with loss, and has its own score; "left out" is
        not learned, and "too long" fails a job whose rows must not be longer. Rows with "no
        answer" get none."""
        body = await request.json()
        self.bodies.append(body)
        if "no answer" in json.dumps(body["rows"]):
            return await self._wait(request)
        if not self.healthy:
            error = {"message": "The model base has not been fetched yet.", "type": "server_error"}
            return JSONResponse({"error": {**error, "param": None, "code": None}}, 503)
        segments = [
            {"text": "before", "token_count": 4, "has_loss": False},
            {"text": "learned", "token_count": 3, "has_loss": True},
        ]
        sequence = {"role": "row", "token_count": 7, "loss_token_count": 3, "is_truncated": False}
        row = {"is_learned": True, "sequences": [{**sequence, "segments": segments}]}
        left_out = {"is_learned": False, "note": "It is longer than a row may be."}
        too_long = {**left_out, "fails_job": body["long_rows"] == "error"}
        data = [
            left_out if "left out" in text else too_long if "too long" in text else row | scored
            for text, scored in (
                (json.dumps(each), {"score": each.get("score")}) for each in body["rows"]
            )
        ]
        found = self.facts if body["include_facts"] else None
        answer = {"max_tokens": 8192, "warnings": [], "data": data, "facts": found}
        return JSONResponse(answer)

    async def health(self) -> Response:
        return Response(status_code=200 if self.healthy else 503)

    async def load(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        if "broken" in body["lora_path"]:
            return JSONResponse(MODEL_NOT_FOUND, 500)
        self.loaded.add(body["lora_name"])
        return JSONResponse({})

    async def unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        self.unload_requests.put(name)
        return JSONResponse(MODEL_NOT_FOUND, 500 if "broken" in name else 200)

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        if body["model"].startswith("ft:") and body["model"] not in self.loaded:
            return JSONResponse(MODEL_NOT_FOUND, 404)
        prompt = body["messages"][-1].get("content")
        if prompt == "too long":
            return JSONResponse(CONTEXT_TOO_LONG, 400)
        if prompt == "crash":
            return Response("Internal Server Error", 500)
        first = str(body["messages"][0].get("content"))
        if first.startswith("answer "):
            _, status, content = first.split(" ", 2)
            return Response(content, int(status), media_type="application/json")
        # A judge's last message is an instruction.
        if "wait" in (prompt, first):
            return await self._wait(request)
        if first.startswith("stream "):
            parts = self._stream_parts(body, json.loads(first.removeprefix("stream ")))
            return StreamingResponse(parts, media_type="text/event-stream")
        if body.get("stream"):
            return StreamingResponse(self._stream(body, prompt), media_type="text/event-stream")
        return JSONResponse(completion(body["model"]))

    async def completions(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        return JSONResponse({})

    async def embeddings(self, request: Request) -> Response:
        """Texts that begin with "vector" get one each, the same for all."""
        body = await request.json()
        self.bodies.append(body)
        texts = body.get("input")
        if not isinstance(texts, list) or not str(texts[0]).startswith("vector"):
            return JSONResponse({})
        data = [
            {"object": "embedding", "index": index, "embedding": [3.0, 4.0]}
            for index in range(len(texts))
        ]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return JSONResponse(
            {"object": "list", "data": data, "model": body["model"], "usage": usage}
        )

    async def classify(self, request: Request) -> Response:
        """Texts with "invoice" are "billing", all others "shipping"; each has two tokens."""
        body = await request.json()
        if body["model"] not in self.loaded:
            return JSONResponse(MODEL_NOT_FOUND, 404)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if texts == ["too long"]:
            return JSONResponse(CONTEXT_TOO_LONG, 400)
        if texts == ["crash"]:
            return Response("Internal Server Error", 500)
        predicted = [[0 if "invoice" in text else 1] for text in texts]
        metadata = EngineMetadata(
            response_id=f"classify-{secrets.token_hex(4)}",
            texts=len(texts),
            tokens=2 * len(texts),
            text_lengths={TEXT_LENGTH_BINS.bin_index(2): len(texts)},
            unknown_token_ratio={0: len(texts)},
            confidence={CONFIDENCE_BINS.bin_index(0.97): len(texts)},
            labels=Counter(label for labels in predicted for label in labels),
            predicted_labels=predicted,
        )
        header = "no JSON" if texts == ["garbage header"] else metadata.to_header()
        data = [
            {"index": index, "label": LABELS[label], "probs": [0.97, 0.03][:: 1 - 2 * label]}
            for index, (label,) in enumerate(predicted)
        ]
        body = {"id": metadata.response_id, "data": data, "labels": LABELS}
        return JSONResponse(body, headers={METADATA_HEADER: header})

    async def run_task(self, model: str, request: Request) -> Response:
        """The first word of a text is a person; that of a context answers all questions."""
        if model not in self.loaded:
            return JSONResponse(MODEL_NOT_FOUND, 404)
        inputs = (await request.json())["inputs"]
        word = (inputs if isinstance(inputs, str) else inputs["context"]).split()[0]
        span = {"score": 0.9, "start": 0, "end": len(word)}
        if isinstance(inputs, str):
            return JSONResponse([span | {"entity_group": "PER", "word": word}])
        return JSONResponse([span | {"answer": word}])

    async def _wait(self, request: Request) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.aborted.set()
        return Response()

    def _event(
        self, body: dict[str, Any], document: dict[str, Any], usage: dict[str, int] | None = None
    ) -> bytes:
        if (body.get("stream_options") or {}).get("include_usage"):
            document = {**document, "usage": usage}
        return f"data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()

    async def _stream_parts(
        self, body: dict[str, Any], parts: list[dict[str, Any]]
    ) -> AsyncIterator[bytes]:
        """Choices of chunks as the message has them, then the usage."""
        empty = chunk(body["model"], None)
        for part in parts:
            choice = {"index": 0, "finish_reason": None, "delta": {}} | part
            yield self._event(body, empty | {"choices": [choice]})
        yield self._event(body, empty | {"choices": []}, completion(body["model"])["usage"])
        yield b"data: [DONE]\n\n"

    async def _stream(self, body: dict[str, Any], prompt: str) -> AsyncIterator[bytes]:
        try:
            for word in ("Hel", "lo"):
                yield self._event(body, chunk(body["model"], word))
            if prompt == "die":
                raise RuntimeError("the engine dies during the stream")
            while prompt == "forever":
                await asyncio.sleep(0.01)
                yield b": still here\n\n"
            yield self._event(body, chunk(body["model"], None))
            if (body.get("stream_options") or {}).get("include_usage"):
                usage = completion(body["model"])["usage"]
                yield self._event(body, {**chunk(body["model"], None), "choices": []}, usage)
            yield b"data: [DONE]\n\n"
        finally:
            if prompt == "forever":
                self.aborted.set()


def completion(model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def chunk(model: str, word: str | None) -> dict[str, Any]:
    delta = {} if word is None else {"content": word}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if word is None else None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [choice],
    }
