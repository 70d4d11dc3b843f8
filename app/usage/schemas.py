"""Query parameters and response bodies of the usage and cost endpoints."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.usage.time_buckets import MAX_UNIX_SECONDS, BucketWidth

UnixSeconds = Annotated[int, Field(ge=0, le=MAX_UNIX_SECONDS)]
# More filter values than any key, model or project list has on a page.
Filter = Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=1000)]
DEFAULT_BUCKETS = {BucketWidth.DAY: 7, BucketWidth.HOUR: 24, BucketWidth.MINUTE: 60}
MAX_BUCKETS = {BucketWidth.DAY: 31, BucketWidth.HOUR: 168, BucketWidth.MINUTE: 1440}
MAX_COST_DAYS = 180


class UsageGrouping(StrEnum):
    """Fields that usage may be grouped by. There are no users, so nobody's id is in a result."""

    PROJECT_ID = "project_id"
    USER_ID = "user_id"
    API_KEY_ID = "api_key_id"
    MODEL = "model"
    BATCH = "batch"
    SERVICE_TIER = "service_tier"
    API_SOURCE = "api_source"


class CostGrouping(StrEnum):
    """Fields that costs may be grouped by."""

    PROJECT_ID = "project_id"
    USER_ID = "user_id"
    LINE_ITEM = "line_item"
    API_KEY_ID = "api_key_id"
    API_SOURCE = "api_source"


class TimeQuery(BaseModel):
    """A range of time and a page of it. `end_time` is now unless it is given."""

    start_time: UnixSeconds
    end_time: UnixSeconds | None = None
    project_ids: Filter = []
    api_key_ids: Filter = []
    page: str | None = None


class UsageQuery(TimeQuery):
    bucket_width: BucketWidth = BucketWidth.DAY
    limit: Annotated[int, Field(ge=0)] | None = None
    user_ids: Filter = []
    models: Filter = []


class GroupedUsageQuery(UsageQuery):
    group_by: Annotated[list[UsageGrouping], Field(max_length=len(UsageGrouping))] = []


class CompletionsUsageQuery(GroupedUsageQuery):
    batch: bool | None = None


class CostsQuery(TimeQuery):
    bucket_width: Literal["1d"] = "1d"
    limit: Annotated[int, Field(ge=0, le=MAX_COST_DAYS)] = 7
    line_items: Filter = []
    group_by: Annotated[list[CostGrouping], Field(max_length=len(CostGrouping))] = []


class EmbeddingsResult(BaseModel):
    """Usage of embeddings; fields that it is not grouped by are null."""

    object: Literal["organization.usage.embeddings.result"] = "organization.usage.embeddings.result"
    input_tokens: int
    num_model_requests: int
    project_id: str | None = None
    user_id: None = None
    api_key_id: str | None = None
    model: str | None = None


class CompletionsResult(BaseModel):
    """Usage of chats, completions and classifiers; fields that it is not grouped by are null."""

    object: Literal["organization.usage.completions.result"] = (
        "organization.usage.completions.result"
    )
    input_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    input_text_tokens: int
    input_cached_text_tokens: int
    output_tokens: int
    output_text_tokens: int
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    num_model_requests: int
    project_id: str | None = None
    user_id: None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    api_source: str | None = None


class Amount(BaseModel):
    value: float
    currency: str


class CostResult(BaseModel):
    """A cost; `quantity` is given if it is grouped by line item."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: Amount
    line_item: str | None = None
    project_id: str | None = None
    user_id: None = None
    api_key_id: str | None = None
    api_source: str | None = None
    quantity: float | None = None
    quantity_unit: Literal["tokens"] | None = None


class Bucket(BaseModel):
    """Results from `start_time` to before `end_time`; empty if there were no requests."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[CompletionsResult] | list[EmbeddingsResult] | list[CostResult]


class BucketPage(BaseModel):
    """A page of buckets. Pass `next_page` as `page` to get the next one."""

    object: Literal["page"] = "page"
    data: list[Bucket]
    has_more: bool
    next_page: str | None
