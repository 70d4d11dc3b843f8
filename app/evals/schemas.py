"""Request and response bodies of evals."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.evals.criteria import TestingCriterion
from app.wire.base import CursorListing, DisplayName, Metadata, UnixTime, max_items

MAX_CRITERIA = 20

EXAMPLE: JsonDict = {
    "name": "Tickets",
    "data_source_config": {
        "type": "custom",
        "item_schema": {
            "type": "object",
            "properties": {"ticket": {"type": "string"}, "team": {"type": "string"}},
            "required": ["ticket", "team"],
        },
        "include_sample_schema": True,
    },
    "testing_criteria": [
        {
            "type": "string_check",
            "name": "right team",
            "input": "{{ sample.output_text }}",
            "reference": "{{ item.team }}",
            "operation": "eq",
        }
    ],
}


class CustomDataSource(BaseModel):
    """Items of the client. With a sample schema, templates may name the model's output."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


class LogsDataSource(BaseModel):
    """Stored completions with these metadata."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["logs"]
    metadata: Metadata | None = None


class StoredCompletionsDataSource(BaseModel):
    """The older name of `logs`."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["stored_completions"]
    metadata: Metadata | None = None


DataSourceConfig = Annotated[
    CustomDataSource | LogsDataSource | StoredCompletionsDataSource, Field(discriminator="type")
]


class CreateEval(BaseModel):
    """Body of POST /v1/evals."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    name: DisplayName | None = None
    metadata: Metadata | None = None
    data_source_config: DataSourceConfig
    testing_criteria: Annotated[
        list[TestingCriterion],
        Field(min_length=1, fail_fast=True),
        max_items(MAX_CRITERIA, "criteria"),
    ]


class UpdateEval(BaseModel):
    """Body of POST /v1/evals/{eval_id}. Omitted fields keep their value."""

    model_config = ConfigDict(extra="forbid")

    name: DisplayName | None = None
    metadata: Metadata | None = None


class CustomConfigObject(BaseModel):
    """`schema` is that of an item's variables, `item` and perhaps `sample`."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["custom"]
    schema_: dict[str, Any] = Field(alias="schema")


class LogsConfigObject(BaseModel):
    """The metadata by which completions are chosen, and the schema of their variables."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["logs", "stored_completions"]
    metadata: dict[str, str] | None = None
    schema_: dict[str, Any] = Field(alias="schema")


class EvalObject(BaseModel):
    """An eval. Its criteria are those of the request, each with an id."""

    id: str
    object: Literal["eval"] = "eval"
    created_at: UnixTime
    name: str
    metadata: dict[str, str] | None
    data_source_config: Annotated[
        CustomConfigObject | LogsConfigObject, Field(discriminator="type")
    ]
    testing_criteria: list[dict[str, Any]]


class EvalList(CursorListing):
    data: list[EvalObject]


class EvalDeleted(BaseModel):
    object: Literal["eval.deleted"] = "eval.deleted"
    deleted: bool
    eval_id: str
