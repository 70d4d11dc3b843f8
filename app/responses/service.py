"""Stored responses: save, get, delete, and their input items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session, undefer

from app.db.tables import ResponseState, StoredResponse
from app.errors import NotFound, StorageQuotaExceeded
from app.files import quota
from app.settings import Settings
from app.wire.base import MAX_PAGE_BYTES
from app.wire.items import ItemDict

# Of the row itself, so that short responses count too.
ROW_BYTES = 200


@dataclass(frozen=True, slots=True)
class ItemPage:
    data: list[ItemDict]
    has_more: bool


def check_room(session: Session, settings: Settings, project_id: str, *, size: int) -> None:
    """Raise StorageQuotaExceeded if the project has no room for a response of this size."""
    try:
        quota.check_declared(session, project_id, settings, size=size)
    except StorageQuotaExceeded as error:
        raise StorageQuotaExceeded(
            f"The response cannot be stored. {error.message} Or send 'store': false.",
            param="store",
        ) from error


def size_of(items: Sequence[ItemDict]) -> int:
    return ROW_BYTES + len(orjson.dumps(items))


def save(
    session: Session, project_id: str, response: Mapping[str, Any], items: Sequence[ItemDict]
) -> StoredResponse:
    """Save a response with the input items of its request."""
    body, input_ = orjson.dumps(response), orjson.dumps(items)
    row = StoredResponse(
        id=response["id"],
        project_id=project_id,
        previous_id=response["previous_response_id"],
        state=ResponseState(response["status"]),
        model=response["model"],
        input=input_,
        body=body,
        bytes=ROW_BYTES + len(body) + len(input_),
    )
    session.add(row)
    return row


def get(session: Session, project_id: str, response_id: str, *columns: Any) -> StoredResponse:
    """Get a response with these of its texts. Raises NotFound."""
    statement = select_of(project_id).where(StoredResponse.id == response_id)
    texts = [undefer(column) for column in columns]
    fresh = statement.options(*texts).execution_options(populate_existing=True)
    row = session.scalars(fresh).one_or_none()
    if row is None:
        raise not_found(response_id)
    return row


def select_of(project_id: str) -> Select[StoredResponse]:
    return select(StoredResponse).where(StoredResponse.project_id == project_id)


def delete_response(session: Session, project_id: str, response_id: str) -> None:
    """Delete a response. Raises NotFound."""
    of_project = StoredResponse.project_id == project_id
    statement = delete(StoredResponse).where(of_project, StoredResponse.id == response_id)
    if not session.scalars(statement.returning(StoredResponse.id)).all():
        raise not_found(response_id)


def list_input_items(
    row: StoredResponse, *, order: Literal["asc", "desc"], after: str | None, limit: int
) -> ItemPage:
    """A page of the input items, which ends after MAX_PAGE_BYTES; empty after an unknown one."""
    items: list[ItemDict] = orjson.loads(row.input)
    if order == "desc":
        items.reverse()
    if after is not None:
        ids = [item["id"] for item in items]
        items = items[ids.index(after) + 1 :] if after in ids else []
    data: list[ItemDict] = []
    size = 0
    for item in items[:limit]:
        size += len(orjson.dumps(item))
        if data and size > MAX_PAGE_BYTES:
            break
        data.append(item)
    return ItemPage(data, has_more=len(data) < len(items))


def not_found(response_id: str) -> NotFound:
    return NotFound(
        f"Response with id '{response_id}' not found. Responses are kept until they are deleted or "
        "expire, unless they were created with 'store': false.",
        param="response_id",
    )
