"""Dialects of engines: how each kind names models, loads adapters, and says it knows none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from app.engine_options import EngineKind
from app.inference.engine_http import read_object

# How each kind says that an adapter, or a model of this name, is not loaded.
NOT_LOADED = ("does not exist", "never been loaded", "not loaded")
# Of a refusal that is no JSON.
MAX_REASON_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Dialect:
    """Routes and fields of one kind of engine; `None` as a path means that it has no adapters."""

    name: str
    load_path: str | None
    unload_path: str | None
    # What an operator sets for the engine to load adapters.
    adapter_switch: str = ""
    # Whether requests may have `cache_salt`: only those with the same share cached prefixes, since
    # the time to the first token would tell other projects which prompts are known.
    has_cache_salt: bool = False


DIALECTS: Mapping[EngineKind, Dialect] = {
    EngineKind.LUTHIER: Dialect("Luthier", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
    EngineKind.VLLM: Dialect(
        "vLLM",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
        has_cache_salt=True,
    ),
    EngineKind.SGLANG: Dialect(
        "SGLang",
        "/load_lora_adapter",
        "/unload_lora_adapter",
        "--enable-lora, --max-lora-rank and --lora-target-modules all",
        has_cache_salt=True,
    ),
    EngineKind.OTHER: Dialect("its engine", None, None),
}


def name_models(
    kind: EngineKind, body: Mapping[str, Any], *, base: str, adapter: str | None
) -> dict[str, Any]:
    """The request's body with the names that the engine knows the models by."""
    if adapter is None:
        return {**body, "model": base}
    if kind == EngineKind.SGLANG:
        # Its field for an adapter's name; a model's name would be split at a colon.
        return {**body, "model": base, "lora_path": adapter}
    return {**body, "model": adapter}


def is_unknown_adapter(kind: EngineKind, status: int, text: bytes) -> bool:
    """True if a response says that the request's adapter is not loaded.

    vLLM answers 404. SGLang answers 400, or in a stream, 200 and an event.
    """
    if kind != EngineKind.SGLANG:
        return status == httpx.codes.NOT_FOUND
    if status == httpx.codes.OK and text.startswith(b"data:"):
        # An event with an error, and no answer that speaks of one.
        event = text.split(b"\n", 1)[0].removeprefix(b"data:")
        reason = read_reason(event) if (read_object(event) or {}).get("error") else ""
    elif status in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND):
        reason = read_reason(text) or text[:MAX_REASON_BYTES].decode(errors="replace")
    else:
        return False
    return any(phrase in reason.lower() for phrase in NOT_LOADED)


def read_reason(body: bytes) -> str:
    """The engine's own sentence about a failure; empty if it gives none."""
    document = read_object(body) or {}
    error = document.get("error")
    for value in (
        error.get("message") if isinstance(error, dict) else error,
        document.get("error_message"),
        document.get("message"),
        document.get("detail"),
    ):
        if isinstance(value, str) and value:
            return value
    return ""
