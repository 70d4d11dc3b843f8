"""Embeddings on the wire."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.wire.base import TokenIds, normalize_inputs

# Texts per request, as OpenAI's limit.
MAX_INPUTS = 2048


def _reject_empty(inputs: list[Any]) -> list[Any]:
    if "" in inputs:
        raise PydanticCustomError("empty", "expected texts that are not empty")
    return inputs


Text = Annotated[str, Field(min_length=1)]
InputList = Annotated[list[str | TokenIds], Field(min_length=1, max_length=MAX_INPUTS)]
Inputs = Annotated[
    InputList,
    BeforeValidator(
        normalize_inputs,
        json_schema_input_type=Text
        | TokenIds
        | Annotated[list[Text | TokenIds], Field(min_length=1, max_length=MAX_INPUTS)],
    ),
    AfterValidator(_reject_empty),
]


class EmbeddingsRequest(BaseModel):
    """POST /v1/embeddings, to the API and to the engine.

    Token ids are the model's own, not those of OpenAI's tokenizers. `dimensions` truncates the
    vectors. `truncate_prompt_tokens` (vLLM) truncates texts to that many tokens, or with -1 to the
    model's maximum.
    """

    # Clients send fields without a meaning here, such as `user`.
    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str
    input: Inputs
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None


class EmbeddingsUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingItem(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingsUsage
