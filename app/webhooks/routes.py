"""/v1/webhook_endpoints and /v1/webhook_event_types"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, get_args

from anyio import to_thread
from fastapi import APIRouter, Query

from app.db.tables import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.errors import InvalidRequest
from app.http.dependencies import (
    AfterCursor,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    SessionDep,
    run_in_transaction,
)
from app.http.idempotency import IDEMPOTENT, IdempotentRoute
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

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=1, le=100)]
ENDPOINTS_PATH = "/webhook_endpoints"


@router.get("/webhook_event_types")
def list_event_types(principal: PrincipalDep) -> EventTypeList:
    """What endpoints can be told of."""
    return EventTypeList(data=list(get_args(EventType)))


# The answer's secret is no hash in the database anyway: deliveries are signed with it.
@router.post(ENDPOINTS_PATH, dependencies=[IDEMPOTENT])
def create(
    asked: CreateEndpoint, parts: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> EndpointWithSecret:
    """Have a URL told of the ends of the project's jobs. The secret is shown here only."""
    endpoint = endpoints.create(
        session, principal.project_id, asked, parts.webhook_client.validate_url
    )
    return _endpoint_with_secret(endpoint)


@router.get(ENDPOINTS_PATH)
def list_endpoints(
    principal: PrincipalDep, session: ReadSessionDep, after: AfterCursor = None, limit: Limit = 20
) -> EndpointList:
    """Newest first."""
    page = endpoints.list_(session, principal.project_id, after=after, limit=limit)
    data = [_endpoint_object(row) for row in page.rows]
    return EndpointList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get(ENDPOINTS_PATH + "/{endpoint_id}")
def retrieve(endpoint_id: str, principal: PrincipalDep, session: ReadSessionDep) -> EndpointObject:
    return _endpoint_object(endpoints.get(session, principal.project_id, endpoint_id))


@router.post(ENDPOINTS_PATH + "/{endpoint_id}")
def update(
    endpoint_id: str,
    asked: UpdateEndpoint,
    parts: AppStateDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> EndpointObject:
    """Change what is given. An endpoint that was disabled is enabled again."""
    sound = parts.webhook_client.validate_url
    return _endpoint_object(
        endpoints.update(session, principal.project_id, endpoint_id, asked, sound)
    )


@router.delete(ENDPOINTS_PATH + "/{endpoint_id}")
def delete(endpoint_id: str, principal: PrincipalDep, session: SessionDep) -> EndpointDeleted:
    """Remove an endpoint and its deliveries, those that are still on their way too."""
    endpoints.delete(session, principal.project_id, endpoint_id)
    return EndpointDeleted(id=endpoint_id, deleted=True)


@router.post(ENDPOINTS_PATH + "/{endpoint_id}/rotate_secret")
def rotate_secret(
    endpoint_id: str,
    principal: PrincipalDep,
    session: SessionDep,
    asked: RotateSecret | None = None,
) -> EndpointWithSecret:
    """A new secret. The old one ends at once, or signs beside the new one for 24 hours."""
    keep = asked is not None and asked.keep_old_secret_active_for_24_hours
    return _endpoint_with_secret(
        endpoints.rotate_secret(session, principal.project_id, endpoint_id, keep_old=keep)
    )


@router.post(ENDPOINTS_PATH + "/{endpoint_id}/test")
async def test(
    endpoint_id: str, asked: TestEndpoint, parts: AppStateDep, principal: PrincipalDep
) -> EndpointTested:
    """Send a sample event at once, and once. It is in the log of deliveries like any other."""
    begin = partial(
        deliveries.create_test_delivery,
        project_id=principal.project_id,
        endpoint_id=endpoint_id,
        event_type=asked.event_type,
    )
    errand = await run_in_transaction(parts, begin)
    # Between two transactions: the receiver may take its time, and a connection must not wait.
    post = partial(sender.post_event, parts.webhook_client, errand)
    outcome = await to_thread.run_sync(post, limiter=parts.webhook_test_slots)
    record = partial(attempts.record_result, attempt=errand, result=outcome, retry=False)
    await run_in_transaction(parts, record)
    if not outcome.is_success or outcome.status is None:
        told = outcome.error or f"It answered with the status {outcome.status}."
        raise InvalidRequest(f"The test delivery failed. {told}", code="webhook_delivery_failed")
    return EndpointTested(
        webhook_endpoint_id=endpoint_id,
        event_type=asked.event_type,
        status_code=outcome.status,
    )


@router.get(ENDPOINTS_PATH + "/{endpoint_id}/deliveries")
def list_deliveries(
    endpoint_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
) -> DeliveryList:
    """What was sent to an endpoint in the last 30 days, with each try. Newest first."""
    page = deliveries.list_(session, principal.project_id, endpoint_id, after=after, limit=limit)
    tries = deliveries.list_attempts(session, page.rows)
    data = [_delivery_object(row, tries[row.id]) for row in page.rows]
    return DeliveryList(data=data, has_more=page.has_more, **page_cursors(data))


def _endpoint_fields(row: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "name": row.name,
        "url": row.url,
        "event_types": row.event_types,
        "signing_secret_hint": signing.secret_hint(row.secret),
        "status": "enabled" if row.disabled_at is None else "disabled",
    }


def _endpoint_object(row: WebhookEndpoint) -> EndpointObject:
    return EndpointObject(**_endpoint_fields(row))


def _endpoint_with_secret(row: WebhookEndpoint) -> EndpointWithSecret:
    return EndpointWithSecret(**_endpoint_fields(row), signing_secret=row.secret)


def _delivery_object(row: WebhookDelivery, tries: Sequence[WebhookAttempt]) -> DeliveryObject:
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
