"""Serializers of responses: what a request has set, and what was answered."""

from collections.abc import Mapping
from typing import Any

from app.responses.schemas import CreateResponse

ResponseDict = dict[str, Any]


def new_response(
    request: CreateResponse, response_id: str, *, model: str, created_at: int, is_stored: bool
) -> ResponseDict:
    """The response before there is an answer."""
    text = {} if request.text is None else _dump(request.text)
    reasoning = {} if request.reasoning is None else _dump(request.reasoning)
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "queued" if request.background else "in_progress",
        "background": request.background is True,
        "error": None,
        "conversation": None if request.conversation is None else {"id": request.conversation},
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None} | reasoning,
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": is_stored,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": request.tool_choice or "auto",
        "tools": [_describe_tool(tool) for tool in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
    }


def _dump(options: Any) -> dict[str, Any]:
    fields: dict[str, Any] = options.model_dump(by_alias=True, exclude_none=True)
    return fields


def _describe_tool(tool: Any) -> dict[str, Any]:
    fields: dict[str, Any] = tool.model_dump()
    return fields


def to_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """The usage of a chat's answer, by the names of a response's. Raises LookupError."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": usage["total_tokens"],
    }
