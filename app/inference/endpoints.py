"""The endpoints whose requests can be sent to an engine without a client waiting for them.

Each has the schema of its body, and the body for the engine, the same as its route's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from app.errors import InvalidRequest
from app.http.strict_json import MAX_NODES, MAX_VALUES_WITH_TOKEN_IDS
from app.inference.answer_translation import AnswerTranslator
from app.inference.token_ids import reject_ids_under_alias
from app.models.registry import ModelTask, ResolvedModel
from app.wire.chat import CreateChatCompletion
from app.wire.completions import CompletionRequest
from app.wire.embeddings import EmbeddingsRequest
from app.wire.engine import ChatCompletionRequest
from app.wire.validation_errors import to_invalid_request

CHAT_COMPLETIONS_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
EMBEDDINGS_PATH = "/v1/embeddings"

EngineBody = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: `build` makes the engine's body from a valid one. It raises InvalidRequest.

    An engine has it at the same path, unless its requests are sent to `engine_path`. Then
    `make_translator` makes the translator of the answer to a valid body, and `translate_refusal`
    makes an error about the engine's body one about the client's.
    """

    path: str
    task: ModelTask
    schema: type[BaseModel]
    build: Callable[[Any, ResolvedModel], EngineBody]
    max_values: int = MAX_NODES
    # Of the built-in engine, where the API's leaves fields to the engine.
    engine_schema: type[BaseModel] | None = None
    engine_path: str | None = None
    make_translator: Callable[[Any, ResolvedModel], AnswerTranslator] | None = None
    translate_refusal: Callable[[InvalidRequest], InvalidRequest] | None = None

    def parse(self, document: object) -> Any:
        """Validate a body; one that was validated is returned as it is. Raises InvalidRequest."""
        if isinstance(document, self.schema):
            return document
        try:
            return self.schema.model_validate(document)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            raise to_invalid_request(errors, body=document) from error

    def check_for_built_in_engine(self, body: Any) -> None:
        """Validate the fields of a valid body that only the engine reads. Raises InvalidRequest."""
        if self.engine_schema is None:
            return
        sent = body.to_engine_request(body.model)
        try:
            self.engine_schema.model_validate(sent)
        except ValidationError as error:
            refused = to_invalid_request(error.errors(include_url=False), body=sent)
            if self.translate_refusal is not None:
                refused = self.translate_refusal(refused)
            raise refused from error


def build_chat_body(body: CreateChatCompletion, model: ResolvedModel) -> EngineBody:
    return body.to_engine_request(model.name)


def build_completion_body(body: CompletionRequest, model: ResolvedModel) -> EngineBody:
    reject_ids_under_alias(model, body.model, body.prompt, param="prompt")
    # By alias: a `json_schema` has a field `schema`.
    fields = body.model_dump(exclude_unset=True, by_alias=True)
    # The default prompt is sent too: another engine may have none.
    return {**fields, "prompt": body.prompt, "model": model.name}


def build_embeddings_body(body: EmbeddingsRequest, model: ResolvedModel) -> EngineBody:
    reject_ids_under_alias(model, body.model, body.input, param="input")
    return {**body.model_dump(exclude_unset=True), "model": model.name}


_ENDPOINTS = (
    Endpoint(
        CHAT_COMPLETIONS_PATH,
        ModelTask.CHAT,
        CreateChatCompletion,
        build_chat_body,
        engine_schema=ChatCompletionRequest,
    ),
    Endpoint(
        COMPLETIONS_PATH,
        ModelTask.COMPLETION,
        CompletionRequest,
        build_completion_body,
        MAX_VALUES_WITH_TOKEN_IDS,
    ),
    Endpoint(
        EMBEDDINGS_PATH,
        ModelTask.EMBEDDING,
        EmbeddingsRequest,
        build_embeddings_body,
        MAX_VALUES_WITH_TOKEN_IDS,
    ),
)
ENDPOINTS: Mapping[str, Endpoint] = {endpoint.path: endpoint for endpoint in _ENDPOINTS}
