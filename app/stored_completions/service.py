"""Stored completions: save, list, get, update, delete."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, undefer

from app.catalog import Catalog
from app.db import pagination
from app.db.tables import StoredCompletion
from app.errors import InvalidRequest, NotFound, StorageQuotaExceeded
from app.files import quota
from app.models import registry
from app.settings import Settings
from app.wire.base import MAX_PAGE_BYTES


@dataclass(frozen=True, slots=True)
class CompletionFilter:
    """Completions of a model, or of all, that have all pairs of `metadata`; with None, those that
    have none."""

    model: str | None = None
    metadata: Mapping[str, str] | None = field(default_factory=dict)

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.model is not None:
            found.append(StoredCompletion.model == self.model)
        if self.metadata is None:
            found.append(StoredCompletion.user_metadata == {})
        elif self.metadata:
            found.append(StoredCompletion.user_metadata.contains(dict(self.metadata)))
        return found


@dataclass(frozen=True, slots=True)
class CompletionPage:
    """Rows of one page, with their responses."""

    rows: list[StoredCompletion]
    has_more: bool


def resolve_name(
    session: Session, catalog: Catalog, project_id: str, name: str | None
) -> str | None:
    """Find the name that completions are stored under: of an alias, its model's."""
    if name is None:
        return None
    return registry.find_stored_name(session, catalog, project_id, name)


def check_may_store(session: Session, settings: Settings, project_id: str, *, size: int) -> None:
    """Raise InvalidRequest if answers are not stored here, or the project has no room for more."""
    if not settings.stored_completions:
        raise InvalidRequest(
            "The operator of this server has turned off storing chat completions. Send the request "
            "without 'store'.",
            param="store",
        )
    try:
        quota.check_declared(session, project_id, settings, size=size)
    except StorageQuotaExceeded as error:
        raise StorageQuotaExceeded(
            f"The answer cannot be stored. {error.message}", param="store"
        ) from error


def save(
    session: Session,
    project_id: str,
    *,
    request: bytes,
    response: bytes,
    answer: Mapping[str, Any],
    metadata: Mapping[str, str],
) -> None:
    """Save an answer with the request that it answers."""
    row = insert(StoredCompletion).values(
        project_id=project_id,
        id=answer["id"],
        model=str(answer.get("model")),
        user_metadata=dict(metadata),
        request=request,
        response=response,
        bytes=len(request) + len(response),
    )
    # Some engines count their answers from 1 after a restart: the newest has the id.
    columns = ("model", "user_metadata", "request", "response", "bytes")
    newest = {name: row.excluded[name] for name in columns}
    keys = [StoredCompletion.project_id, StoredCompletion.id]
    session.execute(
        row.on_conflict_do_update(
            index_elements=keys,
            set_={
                **newest,
                "created_at": func.clock_timestamp(),
                "rating": None,
                "correction": None,
            },
        )
    )


def list_completions(
    session: Session,
    project_id: str,
    chosen: CompletionFilter,
    *,
    order: Literal["asc", "desc"],
    after: str | None,
    limit: int,
) -> CompletionPage:
    """List a page of a project's completions; it ends after MAX_PAGE_BYTES."""
    of_project = select_of(project_id)
    page = pagination.fetch_page_by_age(
        session,
        of_project.where(*chosen.conditions()),
        cursor_rows=of_project,
        after=after,
        limit=limit,
        oldest_first=order == "asc",
    )
    rows: list[StoredCompletion] = []
    size = 0
    for row in page.rows:
        size += row.bytes
        if rows and size > MAX_PAGE_BYTES:
            break
        rows.append(row)
    load(session, project_id, rows, StoredCompletion.response, StoredCompletion.correction)
    return CompletionPage(rows, page.has_more or len(rows) < len(page.rows))


def select_of(project_id: str) -> Select[StoredCompletion]:
    return select(StoredCompletion).where(StoredCompletion.project_id == project_id)


def load(session: Session, project_id: str, rows: list[StoredCompletion], *columns: Any) -> None:
    """Load columns of the texts of rows, in one query."""
    statement = select_of(project_id).where(StoredCompletion.id.in_([row.id for row in rows]))
    options = [undefer(column) for column in columns]
    # Into the rows that the session has already.
    session.scalars(statement.options(*options).execution_options(populate_existing=True)).all()


def get(session: Session, project_id: str, completion_id: str) -> StoredCompletion:
    """Get a completion with its request and response. Raises NotFound."""
    statement = select_of(project_id).where(StoredCompletion.id == completion_id)
    texts = (StoredCompletion.request, StoredCompletion.response, StoredCompletion.correction)
    row = session.scalars(statement.options(*map(undefer, texts))).one_or_none()
    if row is None:
        raise _not_found(completion_id)
    return row


def update_metadata(
    session: Session, project_id: str, completion_id: str, metadata: Mapping[str, str] | None
) -> StoredCompletion:
    """Replace the metadata of a completion. Raises NotFound."""
    row = get(session, project_id, completion_id)
    row.user_metadata = dict(metadata or {})
    return row


def delete_completion(session: Session, project_id: str, completion_id: str) -> None:
    """Delete a completion. Raises NotFound."""
    of_project = StoredCompletion.project_id == project_id
    statement = delete(StoredCompletion).where(of_project, StoredCompletion.id == completion_id)
    if not session.scalars(statement.returning(StoredCompletion.id)).all():
        raise _not_found(completion_id)


def response_of(row: StoredCompletion) -> dict[str, Any]:
    """The stored answer as it is sent, with its metadata, and feedback if any was given."""
    response: dict[str, Any] = orjson.loads(row.response)
    response["metadata"] = row.user_metadata
    if row.rating is not None or row.correction is not None:
        correction = None if row.correction is None else orjson.loads(row.correction)
        response["feedback"] = {"rating": row.rating, "correction": correction}
    return response


def _not_found(completion_id: str) -> NotFound:
    return NotFound(
        f"No stored chat completion has the id '{completion_id}'. Completions are kept if they "
        "were created with 'store': true, until they are deleted or expire.",
        param="completion_id",
    )
