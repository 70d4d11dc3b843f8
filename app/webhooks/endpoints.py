"""Webhook endpoints of a project: create, update, delete, rotate the signing secret."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import ids
from app.db import clock, pagination
from app.db.pagination import Page
from app.db.tables import Project, WebhookEndpoint
from app.errors import InvalidRequest, NotFound
from app.safe_http.ip_policy import DestinationNotAllowed
from app.webhooks import signing
from app.webhooks.schemas import CreateEndpoint, UpdateEndpoint

# A quota, since each hanging endpoint occupies a sender thread.
MAX_ENDPOINTS = 20
OLD_SECRET_RETENTION = timedelta(hours=24)
# Raises DestinationNotAllowed for a URL that the service refuses to send to.
UrlValidator = Callable[[str], None]


def create(
    session: Session, project_id: str, body: CreateEndpoint, validate_url: UrlValidator
) -> WebhookEndpoint:
    """Create an endpoint with a new signing secret. Raises InvalidRequest."""
    _validate_url(body.url, validate_url)
    _check_endpoint_quota(session, project_id)
    endpoint = WebhookEndpoint(
        id=ids.webhook_endpoint_id(),
        project_id=project_id,
        name=body.name,
        url=body.url,
        event_types=_deduplicate(body.event_types),
        secret=signing.generate_secret(),
    )
    session.add(endpoint)
    session.flush()
    return endpoint


def list_(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> Page[WebhookEndpoint]:
    """List a page of a project's endpoints, newest first."""
    statement = select(WebhookEndpoint).where(WebhookEndpoint.project_id == project_id)
    return pagination.fetch_page_by_age(
        session, statement, cursor_rows=statement, after=after, limit=limit
    )


def get(
    session: Session, project_id: str, endpoint_id: str, *, lock: bool = False
) -> WebhookEndpoint:
    """Get a project's endpoint. Raises NotFound, also for another project's endpoint."""
    statement = select(WebhookEndpoint).where(
        WebhookEndpoint.id == endpoint_id, WebhookEndpoint.project_id == project_id
    )
    if lock:
        statement = statement.with_for_update()
    endpoint = session.scalars(statement).one_or_none()
    if endpoint is None:
        raise NotFound(f"No such webhook endpoint: {endpoint_id}", param="id")
    return endpoint


def update(
    session: Session,
    project_id: str,
    endpoint_id: str,
    body: UpdateEndpoint,
    validate_url: UrlValidator,
) -> WebhookEndpoint:
    """Update the body's fields and enable the endpoint. Raises InvalidRequest or NotFound."""
    endpoint = get(session, project_id, endpoint_id, lock=True)
    if body.url is not None:
        _validate_url(body.url, validate_url)
        endpoint.url = body.url
    if body.name is not None:
        endpoint.name = body.name
    if body.event_types is not None:
        endpoint.event_types = _deduplicate(body.event_types)
    endpoint.disabled_at = None
    if session.is_modified(endpoint):
        _save(session, endpoint)
    return endpoint


def delete(session: Session, project_id: str, endpoint_id: str) -> None:
    """Delete an endpoint with its deliveries, pending ones included. Raises NotFound."""
    session.delete(get(session, project_id, endpoint_id, lock=True))


def rotate_secret(
    session: Session, project_id: str, endpoint_id: str, *, keep_old: bool
) -> WebhookEndpoint:
    """Replace the signing secret. With `keep_old`, both sign for 24 hours. Raises NotFound."""
    endpoint = get(session, project_id, endpoint_id, lock=True)
    endpoint.old_secret = endpoint.secret if keep_old else None
    endpoint.old_secret_until = func.clock_timestamp() + OLD_SECRET_RETENTION if keep_old else None
    endpoint.secret = signing.generate_secret()
    _save(session, endpoint)
    return endpoint


def find_secret_of_response(
    session: Session, project_id: str, response: dict[str, Any]
) -> str | None:
    """Find the secret that a stored response to `create` had; None if it has been replaced."""
    secret = session.scalars(
        select(WebhookEndpoint.secret).where(
            WebhookEndpoint.id == response["id"], WebhookEndpoint.project_id == project_id
        )
    ).one_or_none()
    if secret is None or signing.redact_secret(secret) != response["signing_secret_hint"]:
        return None
    return secret


def list_signing_keys(session: Session, endpoint: WebhookEndpoint) -> tuple[str, ...]:
    """List the secrets that are valid now, newest first."""
    until = endpoint.old_secret_until
    if endpoint.old_secret is None or until is None:
        return (endpoint.secret,)
    is_expired = until <= clock.now(session)
    return (endpoint.secret,) if is_expired else (endpoint.secret, endpoint.old_secret)


def _save(session: Session, endpoint: WebhookEndpoint) -> None:
    endpoint.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(endpoint)


def _validate_url(url: str, validate_url: UrlValidator) -> None:
    try:
        validate_url(url)
    except DestinationNotAllowed as error:
        reason = str(error)[0].lower() + str(error)[1:]
        raise InvalidRequest(
            f"Invalid 'url': {reason}", param="url", code="invalid_value"
        ) from error


def _check_endpoint_quota(session: Session, project_id: str) -> None:
    # The lock serializes creations within a project: concurrent ones would not count each other.
    session.get_one(Project, project_id, with_for_update={"key_share": True})
    count = select(func.count()).where(WebhookEndpoint.project_id == project_id)
    if session.scalars(count).one() >= MAX_ENDPOINTS:
        raise InvalidRequest(
            f"A project can have at most {MAX_ENDPOINTS} webhook endpoints. Delete one first."
        )


def _deduplicate(types: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(types))
