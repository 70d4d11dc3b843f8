"""A stand-in for vLLM that is as strict: paths exist, files parse, and names are loaded.

Statuses, fields and sentences are those of vLLM 0.32. An answer of an adapter differs from the base
model's, and from that of other weights.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from safetensors import SafetensorError, safe_open

MAX_MODEL_LENGTH = 512
KNOWN_LENGTH_FIELDS = ("max_completion_tokens", "max_tokens")


class Refused(Exception):
    """vLLM's error: a status, its type and a sentence."""

    def __init__(self, status: int, type: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        error = {"message": message, "type": type, "param": param, "code": status}
        self.response = JSONResponse({"error": error}, status)


@dataclass
class StandIn:
    """One server, whose adapters are lost by `restart`."""

    model: str = "/models/base"
    max_lora_rank: int = 8
    # As with VLLM_ALLOW_RUNTIME_LORA_UPDATING.
    loads_adapters: bool = True
    is_healthy: bool = True
    # Status of every answer, in place of an answer.
    failing_with: int | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    loads: list[dict[str, Any]] = field(default_factory=list)
    unloads: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    num_in_flight: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_exception_handler(Refused, lambda _, error: error.response)  # type: ignore[attr-defined]
        app.add_api_route("/health", self.health)
        app.add_api_route("/v1/models", self.models)
        app.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        app.add_api_route("/v1/completions", self.complete, methods=["POST"])
        if self.loads_adapters:
            app.add_api_route("/v1/load_lora_adapter", self.load, methods=["POST"])
            app.add_api_route("/v1/unload_lora_adapter", self.unload, methods=["POST"])
        return app

    def restart(self) -> None:
        self.adapters.clear()

    def reset(self) -> None:
        """Forget everything, between tests."""
        self.restart()
        self.failing_with = None
        for seen in (self.loads, self.unloads, self.bodies):
            seen.clear()

    async def health(self) -> Response:
        return Response(status_code=200 if self.is_healthy else 503)

    async def models(self) -> dict[str, Any]:
        base = {"id": self.model, "object": "model", "owned_by": "vllm", "parent": None}
        tuned = [{**base, "id": name, "parent": self.model} for name in self.adapters]
        return {"object": "list", "data": [base, *tuned]}

    async def load(self, request: Request) -> Response:
        body = await request.json()
        self.loads.append(body)
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            message = f"The lora adapter '{name}' has already been loaded."
            raise Refused(400, "InvalidUserInput", message)
        self.adapters[name] = await asyncio.to_thread(self._read_adapter, name, Path(path))
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        self.unloads.append(name)
        if self.adapters.pop(name, None) is None:
            message = f"The lora adapter '{name}' cannot be found."
            raise Refused(404, "NotFoundError", message)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def chat(self, request: Request) -> Response:
        body = await self._accept(request)
        prompt = body["messages"][-1]["content"]
        text = self._answer(body["model"], prompt)
        if (body.get("response_format") or {}).get("type") == "json_schema":
            text = json.dumps({"ok": True})
        message: dict[str, Any] = {"role": "assistant", "content": text, **EMPTY_FIELDS}
        reason = "stop"
        if body.get("tools") and body.get("tool_choice") not in (None, "auto", "none"):
            called = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Bonn"}'}
            call = {"id": "chatcmpl-tool-1", "type": "function", "function": called}
            message |= {"content": None, "tool_calls": [call]}
            reason = "tool_calls"
        if body.get("stream"):
            events = self._stream(body, text, prompt)
            return StreamingResponse(events, media_type="text/event-stream")
        choice = {"index": 0, "message": message, "finish_reason": reason, "stop_reason": None}
        choice |= {"logprobs": _logprobs(text) if body.get("logprobs") else None, "token_ids": None}
        return JSONResponse(_envelope(body, "chat.completion", choice) | {"prompt_logprobs": None})

    async def complete(self, request: Request) -> Response:
        body = await self._accept(request)
        choice = {"index": 0, "text": self._answer(body["model"], str(body["prompt"]))}
        choice |= {"finish_reason": "length", "logprobs": None, "stop_reason": None}
        return JSONResponse(_envelope(body, "text_completion", choice))

    async def _accept(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.bodies.append(body)
        if self.failing_with is not None:
            raise Refused(self.failing_with, "InternalServerError", "EngineCore died")
        if body["model"] != self.model and body["model"] not in self.adapters:
            message = f"The model `{body['model']}` does not exist. Valid aliases: {self.model}."
            raise Refused(404, "NotFoundError", message, "model")
        length = next((body[name] for name in KNOWN_LENGTH_FIELDS if body.get(name)), 16)
        if length > MAX_MODEL_LENGTH:
            message = f"{body['model']} has a maximum context length of {MAX_MODEL_LENGTH} tokens."
            raise Refused(400, "BadRequestError", message, "max_tokens")
        if body.get("temperature", 1) < 0:
            message = "temperature must be non-negative"
            raise Refused(400, "BadRequestError", message, "temperature")
        return body

    def _answer(self, model: str, prompt: str) -> str:
        return f"{self.adapters.get(model, 'base')} says {prompt[::-1]}"

    async def _stream(self, body: dict[str, Any], text: str, prompt: str) -> AsyncIterator[bytes]:
        self.num_in_flight += 1
        try:
            yield _event(body, {"role": "assistant", "content": ""})
            for word in text.split(" "):
                # Two halves of an event, as a network may deliver them.
                event = _event(body, {"content": word + " ", "reasoning": None})
                yield event[: len(event) // 2]
                await asyncio.sleep(0)
                yield event[len(event) // 2 :]
            if prompt == "die":
                raise RuntimeError("the engine dies in a stream")
            while prompt == "forever":
                await asyncio.sleep(0.01)
                yield b": still here\n\n"
            if prompt == "fail":
                error = {"message": "EngineCore died", "type": "InternalServerError", "code": 500}
                yield f"data: {json.dumps({'error': error})}\n\n".encode()
            yield _event(body, {}, "stop")
            yield b"data: [DONE]\n\n"
        finally:
            self.num_in_flight -= 1

    def _read_adapter(self, name: str, folder: Path) -> str:
        """Read the files as vLLM does; returns a digest of the weights."""
        try:
            config = json.loads((folder / "adapter_config.json").read_bytes())
            weights = folder / "adapter_model.safetensors"
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
            with safe_open(weights, framework="numpy") as tensors:
                unexpected = [key for key in tensors.keys() if ".lora_" not in key]
        except FileNotFoundError as error:
            message = f"Loading lora {name} failed: No adapter found for {folder}"
            raise Refused(404, "NotFoundError", message) from error
        except (ValueError, SafetensorError) as error:
            raise Refused(500, "InternalServerError", str(error)) from error
        if config["r"] > self.max_lora_rank:
            reason = f"LoRA rank {config['r']} is greater than max_lora_rank {self.max_lora_rank}."
            raise Refused(500, "InternalServerError", reason)
        if unexpected or config.get("use_dora"):
            raise Refused(500, "InternalServerError", "vLLM does not yet support DoRA.")
        return digest


# What vLLM sends in every message, and OpenAI's API does not.
EMPTY_FIELDS = {
    "refusal": None,
    "annotations": None,
    "audio": None,
    "function_call": None,
    "reasoning": None,
}


def _envelope(body: dict[str, Any], object: str, choice: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {
        "id": "chatcmpl-1",
        "object": object,
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": usage | {"prompt_tokens_details": None},
        "service_tier": None,
        "system_fingerprint": "vllm-0.32.0",
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def _event(body: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "token_ids": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    chunk |= {"model": body["model"], "choices": [choice | {"logprobs": None}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _logprobs(text: str) -> dict[str, Any]:
    token = {"token": text, "logprob": -0.5, "bytes": list(text.encode())}
    return {"content": [token | {"top_logprobs": [token]}]}
