"""What keys of projects and of organizations share: made once, shown once, kept as a hash."""

import hashlib
import secrets
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import AdminKey, ApiKey, KeyMixin

K = TypeVar("K", ApiKey, AdminKey)

SECRET_BYTES = 32
# `last_used_at` is for people; writing it on every request would make each one a write.
LAST_USED_UPDATE_INTERVAL = timedelta(minutes=1)


def generate(prefix: str) -> str:
    """A new secret of 256 random bits."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def new_key_columns(secret: str, *, name: str, expires_in: int | None) -> dict[str, Any]:
    """What the row of a new key holds, whoever it belongs to. `expires_in` is in seconds."""
    return {
        "id": ids.key_id(),
        "name": name,
        "secret_sha256": digest(secret),
        "redacted": redact(secret),
        "expires_at": None if expires_in is None else expiry_in(expires_in),
    }


def expiry_in(seconds: int) -> ColumnElement[Any]:
    """The moment that is so many seconds from now, by the database's clock."""
    return _now() + timedelta(seconds=seconds)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def redact(secret: str) -> str:
    """Enough of a secret to tell which one it is, not enough to use it: `sk-l…abcd`."""
    if len(secret) < 12:
        return "…"
    return f"{secret[:4]}…{secret[-4:]}"


def is_active_with_digest(kind: type[KeyMixin]) -> tuple[ColumnElement[bool], ...]:
    """That a key is the one of the statement's parameter `digest`, and may be used.

    The lookup is by the hash: how long it takes says nothing of how near a guess came.
    """
    return (kind.secret_sha256 == bindparam("digest"), *is_active(kind))


def is_active(kind: type[KeyMixin]) -> tuple[ColumnElement[bool], ...]:
    return (
        kind.revoked_at.is_(None),
        or_(kind.expires_at.is_(None), kind.expires_at > _now()),
    )


def needs_last_used_update(kind: type[KeyMixin]) -> ColumnElement[bool]:
    """That the present use of a key is to be written down."""
    return or_(kind.last_used_at.is_(None), kind.last_used_at < _now() - LAST_USED_UPDATE_INTERVAL)


def touch_last_used(session: Session, kind: type[K], key_id: str) -> None:
    """Write down that a key was used, unless another request does so just now."""
    # Without waiting for its lock: a crowd of requests with one key would form a queue here.
    free = select(kind.id).where(kind.id == key_id, needs_last_used_update(kind))
    session.execute(
        update(kind)
        .where(kind.id.in_(free.with_for_update(skip_locked=True)))
        .values(last_used_at=_now())
    )


def revoke(session: Session, kind: type[K], *which: ColumnElement[bool]) -> list[K]:
    """End keys, from this commit on. One that was revoked before keeps the time at which it was."""
    when = func.coalesce(kind.revoked_at, _now())
    return list(
        session.scalars(
            update(kind).where(*which).values(revoked_at=when).returning(kind),
            execution_options={"populate_existing": True},
        )
    )


def _now() -> ColumnElement[Any]:
    return func.clock_timestamp()
