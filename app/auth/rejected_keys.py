"""Reasons why a secret authenticates nothing, for the security log; clients do not learn them."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import bindparam, null, select, union_all
from sqlalchemy.orm import Session

from app.auth import secrets
from app.db.tables import AdminKey, ApiKey


class RejectionReason(StrEnum):
    UNKNOWN = "unknown key"
    REVOKED = "revoked key"
    EXPIRED = "expired key"
    ARCHIVED = "key of an archived project"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Reason why a secret was rejected, and the owner of its key."""

    reason: RejectionReason
    key_id: str | None = None
    project_id: str | None = None


REJECTED_KEY_QUERY = union_all(
    *(
        select(kind.id, project, kind.revoked_at, kind.expires_at).where(
            kind.secret_sha256 == bindparam("digest")
        )
        for kind, project in ((ApiKey, ApiKey.project_id), (AdminKey, null()))
    )
)


def explain_rejection(session: Session, secret: str) -> Rejection:
    """Find out why `authenticate` has rejected a secret."""
    parameters = {"digest": secrets.compute_digest(secret)}
    row = session.execute(REJECTED_KEY_QUERY, parameters).first()
    if row is None:
        return Rejection(RejectionReason.UNKNOWN)
    key_id, project_id, revoked_at, expires_at = row
    if revoked_at is not None:
        reason = RejectionReason.REVOKED
    else:
        reason = RejectionReason.EXPIRED if expires_at else RejectionReason.ARCHIVED
    return Rejection(reason, key_id, project_id)
