"""Secrets of API keys and admin keys: generated once, shown once, stored as a hash."""

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
# `last_used_at` is for operators; updating it on every request would make each request a write.
LAST_USED_UPDATE_INTERVAL = timedelta(minutes=1)


def generate(prefix: str) -> str:
    """Generate a secret: the prefix and 256 random bits in URL-safe base64."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def build_key_columns(secret: str, *, name: str, expires_in: int | None) -> dict[str, Any]:
    """Build the column values of a new key of either kind. `expires_in` is in seconds."""
    return {
        "id": ids.key_id(),
        "name": name,
        "secret_sha256": compute_digest(secret),
        "redacted": redact(secret),
        "expires_at": None if expires_in is None else compute_expiry(expires_in),
    }


def compute_expiry(seconds: int) -> ColumnElement[Any]:
    """Build the SQL expression for a time `seconds` from now, by the database's clock."""
    return _now() + timedelta(seconds=seconds)


def compute_digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def redact(secret: str) -> str:
    """Shorten a secret to a part that identifies it but cannot be used: `sk-l…abcd`."""
    if len(secret) < 12:
        return "…"
    return f"{secret[:4]}…{secret[-4:]}"


def is_active_with_digest(kind: type[KeyMixin]) -> tuple[ColumnElement[bool], ...]:
    """SQL condition: the key has the digest in the statement's parameter `digest`, and is active.

    The lookup is by hash, so its timing reveals nothing about how close a guess was.
    """
    return (kind.secret_sha256 == bindparam("digest"), *is_active(kind))


def is_active(kind: type[KeyMixin]) -> tuple[ColumnElement[bool], ...]:
    """SQL condition: the key is neither revoked nor expired."""
    return (
        kind.revoked_at.is_(None),
        or_(kind.expires_at.is_(None), kind.expires_at > _now()),
    )


def needs_last_used_update(kind: type[KeyMixin]) -> ColumnElement[bool]:
    """SQL condition: `last_used_at` would be out of date if the key is used now."""
    outdated = kind.last_used_at < _now() - LAST_USED_UPDATE_INTERVAL
    return or_(kind.last_used_at.is_(None), outdated)


def touch_last_used(session: Session, kind: type[K], key_id: str) -> None:
    """Update `last_used_at`, unless another request is doing so."""
    # SKIP LOCKED, or concurrent requests with one key would wait for its row here.
    unlocked = select(kind.id).where(kind.id == key_id, needs_last_used_update(kind))
    session.execute(
        update(kind)
        .where(kind.id.in_(unlocked.with_for_update(skip_locked=True)))
        .values(last_used_at=_now())
    )


def revoke(session: Session, kind: type[K], *conditions: ColumnElement[bool]) -> list[K]:
    """Revoke keys with this commit. A key that was already revoked keeps its `revoked_at`."""
    revoked_at = func.coalesce(kind.revoked_at, _now())
    return list(
        session.scalars(
            update(kind).where(*conditions).values(revoked_at=revoked_at).returning(kind),
            execution_options={"populate_existing": True},
        )
    )


def _now() -> ColumnElement[Any]:
    return func.clock_timestamp()
