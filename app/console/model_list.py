"""Models that jobs can start from, and which of them learn from files of a format."""

from collections.abc import Mapping
from typing import Any

from app.console.api_client import ApiClient

# Methods that train on files of a format, the likeliest one first.
METHODS_BY_FORMAT: Mapping[str, tuple[str, ...]] = {
    "chat": ("supervised",),
    "completion": ("supervised",),
    "preference": ("dpo",),
    "classification": ("classification", "embedding"),
    "token_classification": ("token_classification",),
    "question_answering": ("question_answering",),
    "embedding": ("embedding",),
}


async def list_trainable(api: ApiClient) -> list[dict[str, Any]]:
    """List base models, then fine-tuned ones, that a job can start from; without aliases."""
    models = await api.get("/v1/models", {"include": "details"})
    return [model for model in models["data"] if _is_trainable(model)]


def list_methods(model: Mapping[str, Any], format: str | None) -> list[str]:
    """List the methods that train this model on files of the format, if it is known."""
    methods: list[str] = model["details"]["methods"]
    fitting = METHODS_BY_FORMAT.get(format or "")
    return methods if fitting is None else [name for name in fitting if name in methods]


def is_fine_tuned(model: Mapping[str, Any]) -> bool:
    return model["details"]["job_id"] is not None


def _is_trainable(model: Mapping[str, Any]) -> bool:
    details = model.get("details")
    if details is None or not details["methods"]:
        return False
    return details["alias_of"] is None
