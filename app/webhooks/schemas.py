"""Request and response bodies: OpenAI's webhook endpoints, and deliveries, an extension."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.db.tables import DeliveryState
from app.wire.base import CursorListing, UnixTime

EventType = Literal[
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "eval.run.succeeded",
    "eval.run.failed",
    "eval.run.canceled",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
]
Name = Annotated[str, Field(min_length=1, max_length=256)]
EventTypes = Annotated[list[EventType], Field(min_length=1, fail_fast=True)]


class EndpointStatus(StrEnum):
    """An extension of OpenAI's API. A 410 response disables an endpoint; an update enables it."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class CreateEndpoint(BaseModel):
    """`url` must be https and resolve to a public address."""

    name: Name
    url: str
    event_types: EventTypes


class UpdateEndpoint(BaseModel):
    """Omitted fields keep their value. Any update enables a disabled endpoint."""

    name: Name | None = None
    url: str | None = None
    event_types: EventTypes | None = None


class RotateSecret(BaseModel):
    keep_old_secret_active_for_24_hours: bool = False


class TestEndpoint(BaseModel):
    event_type: EventType


class EndpointObject(BaseModel):
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: UnixTime
    updated_at: UnixTime
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    status: EndpointStatus


class EndpointWithSecret(EndpointObject):
    signing_secret: str


class EndpointList(CursorListing):
    data: list[EndpointObject]


class EndpointDeleted(BaseModel):
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: bool


class EndpointTested(BaseModel):
    """A successful test delivery; a failed one is an error response."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: EventType
    status_code: int
    success: Literal[True] = True


class EventTypeList(BaseModel):
    object: Literal["list"] = "list"
    data: list[EventType]


class AttemptObject(BaseModel):
    """One attempt: the HTTP status received, or the error that prevented one."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    ended_at: UnixTime
    milliseconds: int
    status: int | None
    error: str | None


class DeliveryObject(BaseModel):
    """One event for one endpoint; `event_id` is the `webhook-id` header of each attempt."""

    id: str
    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"
    webhook_endpoint_id: str
    created_at: UnixTime
    event_id: str
    event_type: str
    status: DeliveryState
    next_attempt_at: UnixTime | None
    attempts: list[AttemptObject]


class DeliveryList(CursorListing):
    data: list[DeliveryObject]
