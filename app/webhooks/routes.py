"""/v1/webhook_endpoints and /v1/webhook_event_types"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, get_args

from anyio import to_thread
from fastapi import APIRouter, Query

from app.db.tables import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.errors import InvalidRequest
from app.http.dependencies import (
    After,
    PartsDep,
    PrincipalDep,
    ReadingDep,
    SessionDep,
    ask_database,
)
from app.http.idempotency import ONCE, RepeatableRoute
from app.webhooks import attempts, deliveries, endpoints, sender, signing
from app.webhooks.schemas import (
    AttemptObject,
    CreateEndpoint,
    DeliveryList,
    DeliveryObject,
    EndpointDeleted,
    EndpointList,
    EndpointObject,
    EndpointTested,
    EndpointWithSecret,
    EventType,
    EventTypeList,
    RotateSecret,
    TestEndpoint,
    UpdateEndpoint,
)
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=RepeatableRoute)

Limit = Annotated[int, Query(ge=1, le=100)]
ENDPOINTS = "/webhook_endpoints"


@router.get("/webhook_event_types")
def list_event_types(principal: PrincipalDep) -> EventTypeList:
    """What endpoints can be told of."""
    return EventTypeList(data=list(get_args(EventType)))


# The answer's secret is no hash in the database anyway: deliveries are signed with it.
@router.post(ENDPOINTS, dependencies=[ONCE])
def create(
    asked: CreateEndpoint, parts: PartsDep, principal: PrincipalDep, session: SessionDep
) -> EndpointWithSecret:
    """Have a URL told of the ends of the project's jobs. The secret is shown here only."""
    endpoint = endpoints.create(session, principal.project_id, asked, parts.poster.require_sound)
    return _with_secret(endpoint)


@router.get(ENDPOINTS)
def list_endpoints(
    principal: PrincipalDep, session: ReadingDep, after: After = None, limit: Limit = 20
) -> EndpointList:
    """Newest first."""
    page = endpoints.list_(session, principal.project_id, after=after, limit=limit)
    data = [_endpoint(row) for row in page.rows]
    return EndpointList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get(ENDPOINTS + "/{endpoint_id}")
def retrieve(endpoint_id: str, principal: PrincipalDep, session: ReadingDep) -> EndpointObject:
    return _endpoint(endpoints.retrieve(session, principal.project_id, endpoint_id))


@router.post(ENDPOINTS + "/{endpoint_id}")
def update(
    endpoint_id: str,
    asked: UpdateEndpoint,
    parts: PartsDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> EndpointObject:
    """Change what is given. An endpoint that was disabled is enabled again."""
    sound = parts.poster.require_sound
    return _endpoint(endpoints.update(session, principal.project_id, endpoint_id, asked, sound))


@router.delete(ENDPOINTS + "/{endpoint_id}")
def delete(endpoint_id: str, principal: PrincipalDep, session: SessionDep) -> EndpointDeleted:
    """Remove an endpoint and its deliveries, those that are still on their way too."""
    endpoints.delete(session, principal.project_id, endpoint_id)
    return EndpointDeleted(id=endpoint_id, deleted=True)


@router.post(ENDPOINTS + "/{endpoint_id}/rotate_secret")
def rotate_secret(
    endpoint_id: str,
    principal: PrincipalDep,
    session: SessionDep,
    asked: RotateSecret | None = None,
) -> EndpointWithSecret:
    """A new secret. The old one ends at once, or signs beside the new one for 24 hours."""
    keep = asked is not None and asked.keep_old_secret_active_for_24_hours
    return _with_secret(
        endpoints.rotate_secret(session, principal.project_id, endpoint_id, keep_old=keep)
    )


@router.post(ENDPOINTS + "/{endpoint_id}/test")
async def test(
    endpoint_id: str, asked: TestEndpoint, parts: PartsDep, principal: PrincipalDep
) -> EndpointTested:
    """Send a sample event at once, and once. It is in the log of deliveries like any other."""
    begin = partial(
        deliveries.begin_test,
        project_id=principal.project_id,
        endpoint_id=endpoint_id,
        event_type=asked.event_type,
    )
    errand = await ask_database(parts, begin)
    # Between two transactions: the receiver may take its time, and a connection must not wait.
    post = partial(sender.attempt, parts.poster, errand)
    outcome = await to_thread.run_sync(post, limiter=parts.webhook_tests)
    record = partial(attempts.record, errand=errand, outcome=outcome, again=False)
    await ask_database(parts, record)
    if not outcome.is_success or outcome.status is None:
        told = outcome.error or f"It answered with the status {outcome.status}."
        raise InvalidRequest(f"The test delivery failed. {told}", code="webhook_delivery_failed")
    return EndpointTested(
        webhook_endpoint_id=endpoint_id,
        event_type=asked.event_type,
        status_code=outcome.status,
    )


@router.get(ENDPOINTS + "/{endpoint_id}/deliveries")
def list_deliveries(
    endpoint_id: str,
    principal: PrincipalDep,
    session: ReadingDep,
    after: After = None,
    limit: Limit = 20,
) -> DeliveryList:
    """What was sent to an endpoint in the last 30 days, with each try. Newest first."""
    page = deliveries.list_(session, principal.project_id, endpoint_id, after=after, limit=limit)
    tries = deliveries.attempts(session, page.rows)
    data = [_delivery(row, tries[row.id]) for row in page.rows]
    return DeliveryList(data=data, has_more=page.has_more, **page_cursors(data))


def _fields(row: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "name": row.name,
        "url": row.url,
        "event_types": row.event_types,
        "signing_secret_hint": signing.hint(row.secret),
        "status": "enabled" if row.disabled_at is None else "disabled",
    }


def _endpoint(row: WebhookEndpoint) -> EndpointObject:
    return EndpointObject(**_fields(row))


def _with_secret(row: WebhookEndpoint) -> EndpointWithSecret:
    return EndpointWithSecret(**_fields(row), signing_secret=row.secret)


def _delivery(row: WebhookDelivery, tries: Sequence[WebhookAttempt]) -> DeliveryObject:
    return DeliveryObject(
        id=row.id,
        webhook_endpoint_id=row.endpoint_id,
        created_at=row.created_at,
        event_id=row.event_id,
        event_type=row.event_type,
        status=row.state,
        next_attempt_at=row.next_at,
        attempts=[AttemptObject.model_validate(each) for each in tries],
    )
