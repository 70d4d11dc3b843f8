"""Routes of /v1/webhook_endpoints and /v1/webhook_event_types."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, get_args

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
from app.http.idempotency import IdempotentRoute, SecretField, idempotent_except
from app.webhooks import attempts, deliveries, endpoints, sender, signing
from app.webhooks.schemas import (
    AttemptObject,
    CreateEndpoint,
    DeliveryList,
    DeliveryObject,
    EndpointDeleted,
    EndpointList,
    EndpointObject,
    EndpointStatus,
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
    """List the event types that endpoints can subscribe to."""
    return EventTypeList(data=list(get_args(EventType)))


# The secret outlives neither a rotation nor the endpoint in the stored response.
SIGNING_SECRET = SecretField(
    "signing_secret", hint="signing_secret_hint", find=endpoints.find_secret_of_response
)


@router.post(ENDPOINTS_PATH, dependencies=[idempotent_except(SIGNING_SECRET)])
def create(
    body: CreateEndpoint, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> EndpointWithSecret:
    """Create an endpoint. Only this response and a rotation's contain the signing secret."""
    endpoint = endpoints.create(
        session, principal.project_id, body, state.webhook_client.validate_url
    )
    return _build_endpoint_with_secret(endpoint)


@router.get(ENDPOINTS_PATH)
def list_endpoints(
    principal: PrincipalDep, session: ReadSessionDep, after: AfterCursor = None, limit: Limit = 20
) -> EndpointList:
    """List endpoints, newest first."""
    page = endpoints.list_(session, principal.project_id, after=after, limit=limit)
    data = [_build_endpoint_object(row) for row in page.rows]
    return EndpointList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get(ENDPOINTS_PATH + "/{endpoint_id}")
def retrieve(endpoint_id: str, principal: PrincipalDep, session: ReadSessionDep) -> EndpointObject:
    return _build_endpoint_object(endpoints.get(session, principal.project_id, endpoint_id))


@router.post(ENDPOINTS_PATH + "/{endpoint_id}")
def update(
    endpoint_id: str,
    body: UpdateEndpoint,
    state: AppStateDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> EndpointObject:
    """Update the fields in the body, and enable the endpoint if it was disabled."""
    validate_url = state.webhook_client.validate_url
    return _build_endpoint_object(
        endpoints.update(session, principal.project_id, endpoint_id, body, validate_url)
    )


@router.delete(ENDPOINTS_PATH + "/{endpoint_id}")
def delete(endpoint_id: str, principal: PrincipalDep, session: SessionDep) -> EndpointDeleted:
    """Delete an endpoint and its deliveries, pending ones included."""
    endpoints.delete(session, principal.project_id, endpoint_id)
    return EndpointDeleted(id=endpoint_id, deleted=True)


@router.post(ENDPOINTS_PATH + "/{endpoint_id}/rotate_secret")
def rotate_secret(
    endpoint_id: str,
    principal: PrincipalDep,
    session: SessionDep,
    body: RotateSecret | None = None,
) -> EndpointWithSecret:
    """Replace the signing secret. The old one stops signing at once, or after 24 hours."""
    keep_old = body is not None and body.keep_old_secret_active_for_24_hours
    return _build_endpoint_with_secret(
        endpoints.rotate_secret(session, principal.project_id, endpoint_id, keep_old=keep_old)
    )


@router.post(ENDPOINTS_PATH + "/{endpoint_id}/test")
async def test(
    endpoint_id: str, body: TestEndpoint, state: AppStateDep, principal: PrincipalDep
) -> EndpointTested:
    """Send a sample event now, without retries. It appears in the list of deliveries."""
    create_delivery = partial(
        deliveries.create_test_delivery,
        project_id=principal.project_id,
        endpoint_id=endpoint_id,
        event_type=body.event_type,
    )
    attempt = await run_in_transaction(state, create_delivery)
    # Between two transactions: a slow receiver must not hold a database connection.
    post_event = partial(sender.post_event, state.webhook_client, attempt)
    result = await state.webhook_test_slots.run(post_event)
    record = partial(attempts.record_result, attempt=attempt, result=result, retry=False)
    await run_in_transaction(state, record)
    if not result.is_success or result.status is None:
        reason = result.error or f"The receiver responded with status {result.status}."
        raise InvalidRequest(f"The test delivery failed. {reason}", code="webhook_delivery_failed")
    return EndpointTested(
        webhook_endpoint_id=endpoint_id,
        event_type=body.event_type,
        status_code=result.status,
    )


@router.get(ENDPOINTS_PATH + "/{endpoint_id}/deliveries")
def list_deliveries(
    endpoint_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
) -> DeliveryList:
    """List an endpoint's deliveries of the last 30 days with their attempts, newest first."""
    page = deliveries.list_(session, principal.project_id, endpoint_id, after=after, limit=limit)
    attempt_rows = deliveries.list_attempts(session, page.rows)
    data = [_build_delivery_object(row, attempt_rows[row.id]) for row in page.rows]
    return DeliveryList(data=data, has_more=page.has_more, **page_cursors(data))


def _build_endpoint_fields(row: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "name": row.name,
        "url": row.url,
        "event_types": row.event_types,
        "signing_secret_hint": signing.redact_secret(row.secret),
        "status": EndpointStatus.ENABLED if row.disabled_at is None else EndpointStatus.DISABLED,
    }


def _build_endpoint_object(row: WebhookEndpoint) -> EndpointObject:
    return EndpointObject(**_build_endpoint_fields(row))


def _build_endpoint_with_secret(row: WebhookEndpoint) -> EndpointWithSecret:
    return EndpointWithSecret(**_build_endpoint_fields(row), signing_secret=row.secret)


def _build_delivery_object(
    row: WebhookDelivery, attempt_rows: Sequence[WebhookAttempt]
) -> DeliveryObject:
    return DeliveryObject(
        id=row.id,
        webhook_endpoint_id=row.endpoint_id,
        created_at=row.created_at,
        event_id=row.event_id,
        event_type=row.event_type,
        status=row.state,
        next_attempt_at=row.next_attempt_at,
        attempts=[AttemptObject.model_validate(attempt) for attempt in attempt_rows],
    )
