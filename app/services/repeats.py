"""A request that comes again because its answer was lost gets that answer, and does nothing twice.

A client says so with an `Idempotency-Key` of its own. The official SDKs send none, but the number
of the try: a later try of a request that was answered a short while ago is the same request.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import Repeat
from app.errors import InvalidRequest

KEPT = timedelta(hours=24)
# An SDK gives up long before. Later, the same body is a new wish.
RETRIED_WITHIN = timedelta(minutes=15)
LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a request. `key` is the client's, `number` counts the tries from 0."""

    project_id: str
    request_sha256: str
    key: str | None
    number: int

    @property
    def stored_key(self) -> str:
        # A client cannot send this: header values have no line ends.
        return self.key if self.key is not None else f"\n{self.request_sha256}"


def make_try(project_id: str, route: str, body: str, *, key: str | None, number: int) -> Try:
    """A try of `route` with a body. Raises InvalidRequest for a key that is none."""
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise InvalidRequest(
            f"The header Idempotency-Key must have 1 to {LONGEST_KEY} characters.",
            param="Idempotency-Key",
        )
    digest = hashlib.sha256(f"{route}\n{body}".encode()).hexdigest()
    return Try(project_id, digest, key, number)


def answered(session: Session, this: Try) -> dict[str, Any] | None:
    """The answer that an earlier try got, or None if this one is the first that arrives.

    Tries of one request wait for each other until their transactions end. Raises InvalidRequest
    if the key came with another request before.
    """
    name = f"{this.project_id}\n{this.stored_key}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    found = session.scalars(
        select(Repeat).where(
            Repeat.project_id == this.project_id,
            Repeat.key == this.stored_key,
            Repeat.created_at > _ago(KEPT if this.key is not None else RETRIED_WITHIN),
        )
    ).one_or_none()
    if found is None or (this.key is None and this.number == 0):
        return None
    if found.request_sha256 != this.request_sha256:
        raise InvalidRequest(
            "This Idempotency-Key was used for another request. Use a new one for each request.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    return found.answer


def remember(session: Session, this: Try, answer: Mapping[str, Any]) -> None:
    """Keep the answer for tries to come, in the transaction of what it tells of."""
    row = insert(Repeat).values(
        project_id=this.project_id,
        key=this.stored_key,
        request_sha256=this.request_sha256,
        answer=dict(answer),
    )
    newest = {
        "request_sha256": row.excluded.request_sha256,
        "answer": row.excluded.answer,
        "created_at": func.clock_timestamp(),
    }
    session.execute(row.on_conflict_do_update(index_elements=["project_id", "key"], set_=newest))


def prune(session: Session) -> None:
    """Forget what is too old to be asked for."""
    session.execute(delete(Repeat).where(Repeat.created_at < _ago(KEPT)))


def _ago(time: timedelta) -> ColumnElement[Any]:
    return func.clock_timestamp() - time
