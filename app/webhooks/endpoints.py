"""Webhook endpoints, as their owners manage them: where a project is told of its jobs' ends."""

from collections.abc import Callable, Sequence
from datetime import timedelta

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

# One that hangs takes a courier's time, so a project must not have any number of them.
MAX_ENDPOINTS = 20
OLD_SECRET_RETENTION = timedelta(hours=24)
# Raises Refused for a URL that nothing will be sent to.
UrlValidator = Callable[[str], None]


def create(
    session: Session, project_id: str, asked: CreateEndpoint, validate_url: UrlValidator
) -> WebhookEndpoint:
    """A new endpoint with a secret of its own. Raises InvalidRequest."""
    _validate_url(asked.url, validate_url)
    _check_endpoint_quota(session, project_id)
    endpoint = WebhookEndpoint(
        id=ids.webhook_endpoint_id(),
        project_id=project_id,
        name=asked.name,
        url=asked.url,
        event_types=_deduplicate(asked.event_types),
        secret=signing.new_secret(),
    )
    session.add(endpoint)
    session.flush()
    return endpoint


def list_(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> Page[WebhookEndpoint]:
    """A page of a project's endpoints, newest first."""
    statement = select(WebhookEndpoint).where(WebhookEndpoint.project_id == project_id)
    return pagination.page_by_age(
        session, statement, cursor_rows=statement, after=after, limit=limit
    )


def get(
    session: Session, project_id: str, endpoint_id: str, *, lock: bool = False
) -> WebhookEndpoint:
    """A project's endpoint. Raises NotFound for another project's too."""
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
    asked: UpdateEndpoint,
    validate_url: UrlValidator,
) -> WebhookEndpoint:
    """Change what is given, and enable the endpoint. Raises InvalidRequest, NotFound."""
    endpoint = get(session, project_id, endpoint_id, lock=True)
    if asked.url is not None:
        _validate_url(asked.url, validate_url)
        endpoint.url = asked.url
    if asked.name is not None:
        endpoint.name = asked.name
    if asked.event_types is not None:
        endpoint.event_types = _deduplicate(asked.event_types)
    endpoint.disabled_at = None
    if session.is_modified(endpoint):
        _save(session, endpoint)
    return endpoint


def delete(session: Session, project_id: str, endpoint_id: str) -> None:
    """Remove an endpoint, what was on its way to it, and its log. Raises NotFound."""
    session.delete(get(session, project_id, endpoint_id, lock=True))


def rotate_secret(
    session: Session, project_id: str, endpoint_id: str, *, keep_old: bool
) -> WebhookEndpoint:
    """A new secret; if the old one is kept, both sign for a day. Raises NotFound."""
    endpoint = get(session, project_id, endpoint_id, lock=True)
    endpoint.old_secret = endpoint.secret if keep_old else None
    endpoint.old_secret_until = func.clock_timestamp() + OLD_SECRET_RETENTION if keep_old else None
    endpoint.secret = signing.new_secret()
    _save(session, endpoint)
    return endpoint


def signing_keys(session: Session, endpoint: WebhookEndpoint) -> tuple[str, ...]:
    """The secrets that sign at this moment, the newest first."""
    until = endpoint.old_secret_until
    if endpoint.old_secret is None or until is None:
        return (endpoint.secret,)
    is_over = until <= clock.now(session)
    return (endpoint.secret,) if is_over else (endpoint.secret, endpoint.old_secret)


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
    # The lock makes creations of one project wait for each other: they would count past each other.
    session.get_one(Project, project_id, with_for_update={"key_share": True})
    mine = select(func.count()).where(WebhookEndpoint.project_id == project_id)
    if session.scalars(mine).one() >= MAX_ENDPOINTS:
        raise InvalidRequest(
            f"A project has {MAX_ENDPOINTS} webhook endpoints at most. Delete one first."
        )


def _deduplicate(types: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(types))
