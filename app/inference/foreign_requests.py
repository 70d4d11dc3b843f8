"""Requests in the form that engines of other kinds understand, and what they cannot do."""

from collections.abc import Mapping
from typing import Any

from app.catalog import CatalogModel
from app.inference.adapter_checks import AdapterFacts
from app.inference.engine_errors import NotSupportedByEngine

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
LENGTH_FIELDS = ("max_tokens", "max_completion_tokens")


def translate_request(
    path: str,
    body: Mapping[str, Any],
    base: CatalogModel,
    *,
    engine: str,
    facts: AdapterFacts | None,
) -> dict[str, Any]:
    """The body of a request to an engine of another kind, still without the model's name there.

    Raises NotSupportedByEngine for what it would drop without a word.
    """
    if path not in (CHAT_PATH, COMPLETIONS_PATH, EMBEDDINGS_PATH):
        raise NotSupportedByEngine(
            f"The model is served by {engine}, which does not have this route. The built-in engine "
            "does.",
            param="model",
        )
    # Other engines are not told about projects and their users.
    translated = {name: value for name, value in body.items() if name != "user"}
    if path == COMPLETIONS_PATH:
        _refuse_best_of(translated, engine)
    if path == CHAT_PATH:
        _refuse_functions(translated, engine)
        _refuse_truncation(translated, engine)
        if has_no_limit(path, body):
            translated["max_completion_tokens"] = base.max_completion_tokens
        if facts is not None and facts.thinking is not None:
            # As the built-in engine renders chats of this adapter, by how it was trained.
            switches = translated.get("chat_template_kwargs") or {}
            defaults = {"enable_thinking": facts.thinking}
            translated["chat_template_kwargs"] = defaults | switches
    return translated


def has_no_limit(path: str, body: Mapping[str, Any]) -> bool:
    """True for a chat that names no limit of tokens, for which the entry's is sent."""
    return path == CHAT_PATH and all(body.get(name) is None for name in LENGTH_FIELDS)


def without_limit(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without the entry's limit: engines refuse one that the prompt leaves no room for."""
    return {name: value for name, value in body.items() if name != "max_completion_tokens"}


def _refuse_functions(body: Mapping[str, Any], engine: str) -> None:
    for field, newer in (("functions", "tools"), ("function_call", "tool_choice")):
        if body.get(field) is not None:
            raise NotSupportedByEngine(
                f"'{field}' is not supported by {engine}, this model's engine. Use '{newer}'.",
                param=field,
            )


def _refuse_truncation(body: Mapping[str, Any], engine: str) -> None:
    if body.get("truncation") is not None:
        raise NotSupportedByEngine(
            f"'truncation': 'auto' is not supported by {engine}, this model's engine. Send a "
            "shorter input.",
            param="truncation",
        )


def _refuse_best_of(body: dict[str, Any], engine: str) -> None:
    best_of = body.pop("best_of", None)
    if best_of is not None and best_of != (body.get("n") or 1):
        raise NotSupportedByEngine(
            f"'best_of' is not supported by {engine}, this model's engine. Use 'n'.",
            param="best_of",
        )
