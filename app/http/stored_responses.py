"""A request that comes again because its answer was lost gets that answer, and does nothing twice.

A client says so with an `Idempotency-Key` of its own. The official SDKs send none, but the number
of the try: a later try of a request that was answered a short while ago is the same request.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import IdempotencyRecord
from app.errors import InvalidRequest

RETENTION = timedelta(hours=24)
# An SDK gives up long before. Later, the same body is a new wish.
SDK_RETRY_WINDOW = timedelta(minutes=15)
MAX_KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What a request was answered with: the status and the JSON of the body."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class RequestAttempt:
    """One try of a request. `key` is the client's, `number` counts the tries from 0.

    `owner` is the id of the project that asks, or of the organization: keys of others are others.
    """

    owner_id: str
    request_sha256: str
    key: str | None
    retry_count: int

    @property
    def stored_key(self) -> str:
        # A client cannot send this: header values have no line ends.
        return self.key if self.key is not None else f"\n{self.request_sha256}"


def new_attempt(
    owner_id: str, route: str, body: bytes, *, key: str | None, retry_count: int
) -> RequestAttempt:
    """A try of `route` with a body. Raises InvalidRequest for a key that is none."""
    if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InvalidRequest(
            f"The header Idempotency-Key must have 1 to {MAX_KEY_LENGTH} characters.",
            param="Idempotency-Key",
        )
    digest = hashlib.sha256(f"{route}\n".encode() + body).hexdigest()
    return RequestAttempt(owner_id, digest, key, retry_count)


def find_stored_response(session: Session, this: RequestAttempt) -> StoredResponse | None:
    """The answer that an earlier try got, or None if this one is the first that arrives.

    Tries of one request wait for each other until their transactions end. Raises InvalidRequest
    if the key came with another request before.
    """
    name = f"{this.owner_id}\n{this.stored_key}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    found = session.scalars(
        select(IdempotencyRecord).where(
            IdempotencyRecord.owner == this.owner_id,
            IdempotencyRecord.key == this.stored_key,
            IdempotencyRecord.created_at
            > clock.ago(RETENTION if this.key is not None else SDK_RETRY_WINDOW),
        )
    ).one_or_none()
    if found is None or (this.key is None and this.retry_count == 0):
        return None
    if found.request_sha256 != this.request_sha256:
        raise InvalidRequest(
            "This Idempotency-Key came with another request before. Use a new key for each "
            "request, and the same key only to send the same request to the same URL again.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    return StoredResponse(found.status, found.answer)


def store_response(session: Session, this: RequestAttempt, answer: StoredResponse) -> None:
    """Keep the answer for tries to come, in the transaction of what it tells of."""
    row = insert(IdempotencyRecord).values(
        owner=this.owner_id,
        key=this.stored_key,
        request_sha256=this.request_sha256,
        status=answer.status,
        answer=answer.body,
    )
    newest = {
        "request_sha256": row.excluded.request_sha256,
        "status": row.excluded.status,
        "answer": row.excluded.answer,
        "created_at": func.clock_timestamp(),
    }
    session.execute(
        row.on_conflict_do_update(
            index_elements=[IdempotencyRecord.owner, IdempotencyRecord.key], set_=newest
        )
    )


def delete_expired(session: Session) -> None:
    """Forget what is too old to be asked for."""
    session.execute(
        delete(IdempotencyRecord).where(IdempotencyRecord.created_at < clock.ago(RETENTION))
    )
