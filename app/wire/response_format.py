"""OpenAI's `response_format`: the form in which a model is to answer."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

# OpenAI's rule for names.
FormatName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class JsonSchemaFormat(BaseModel):
    """A JSON Schema that the answer fulfils. With `strict`, OpenAI's rules for schemas hold."""

    model_config = ConfigDict(strict=True)

    name: FormatName
    description: str | None = None
    # `schema` is a method of pydantic's models.
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: StrictBool | None = None


class ResponseFormat(BaseModel):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("no_schema", "type 'json_schema' needs the field json_schema")
        return self
