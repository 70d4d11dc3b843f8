"""Responses as an endpoint of batches: requests that stand alone, which are sent as chats."""

from time import time
from typing import Self

from pydantic import model_validator

from app import ids
from app.inference.endpoints import CHAT_COMPLETIONS_PATH, Endpoint, EngineBody
from app.models.registry import ModelTask, ResolvedModel
from app.responses import context
from app.responses.chat_request import build_chat_body, translate_refusal
from app.responses.relay import ResponseTranslator
from app.responses.schemas import CreateResponse
from app.responses.serializers import new_response
from app.wire.engine import ChatCompletionRequest
from app.wire.items import ItemReference
from app.wire.refusals import refusal

RESPONSES_PATH = "/v1/responses"


class BatchedResponse(CreateResponse):
    """A request of a batch. It reads nothing that is stored, and its response is not stored."""

    @model_validator(mode="after")
    def _check_stands_alone(self) -> Self:
        if self.background:
            raise refusal(
                "Requests of a batch are all made in the background. Omit 'background', or set it "
                "to false.",
                param="background",
            )
        for name in ("previous_response_id", "conversation"):
            if getattr(self, name) is not None:
                raise refusal(
                    f"Requests of a batch cannot continue what is stored. Omit '{name}', and send "
                    "the earlier items in 'input'.",
                    param=name,
                )
        for number, item in enumerate(self.input or ()):
            if isinstance(item, ItemReference):
                raise refusal(
                    "Requests of a batch cannot refer to stored items. Send the item itself.",
                    param=f"input[{number}]",
                )
        return self

    def to_engine_request(self, model: str) -> EngineBody:
        """The chat that the engine gets. Raises InvalidRequest."""
        items = context.describe_items(self.input or (), {}, ids.response_id())
        return build_chat_body(self, items, model)


def _build(body: BatchedResponse, model: ResolvedModel) -> EngineBody:
    return body.to_engine_request(model.name)


def _make_translator(body: BatchedResponse, model: ResolvedModel) -> ResponseTranslator:
    response = new_response(
        body, ids.response_id(), model=model.name, created_at=int(time()), is_stored=False
    )
    return ResponseTranslator(response, keep=None)


RESPONSES = Endpoint(
    RESPONSES_PATH,
    ModelTask.CHAT,
    BatchedResponse,
    _build,
    engine_schema=ChatCompletionRequest,
    engine_path=CHAT_COMPLETIONS_PATH,
    make_translator=_make_translator,
    translate_refusal=translate_refusal,
)
