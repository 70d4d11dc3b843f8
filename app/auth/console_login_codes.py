"""One-time codes that start a session of the web console."""

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from app.auth import secrets
from app.auth.console_sessions import Grant
from app.db.tables import ConsoleLoginCode

CODE_PREFIX = "code-"
LOGIN_CODE_SECONDS = 3600


def create(session: Session, grant: Grant) -> str:
    """Create a code that starts one session with these rights, within the next hour."""
    secret = secrets.generate(CODE_PREFIX)
    session.add(
        ConsoleLoginCode(
            secret_sha256=secrets.compute_digest(secret),
            organization_id=grant.organization_id,
            project_id=grant.project_id,
            is_admin=grant.is_admin,
            api_key_id=grant.api_key_id,
            admin_key_id=grant.admin_key_id,
            subject=grant.subject,
            expires_at=secrets.compute_expiry(LOGIN_CODE_SECONDS),
        )
    )
    session.flush()
    return secret


def use(session: Session, code: str) -> Grant | None:
    """Use up a code; None if it is unknown, used or expired."""
    row = session.execute(
        delete(ConsoleLoginCode)
        .where(ConsoleLoginCode.secret_sha256 == secrets.compute_digest(code))
        .returning(
            ConsoleLoginCode.organization_id,
            ConsoleLoginCode.project_id,
            ConsoleLoginCode.is_admin,
            ConsoleLoginCode.api_key_id,
            ConsoleLoginCode.admin_key_id,
            ConsoleLoginCode.subject,
            ConsoleLoginCode.expires_at > func.clock_timestamp(),
        )
    ).one_or_none()
    if row is None or not row[-1]:
        return None
    organization_id, project_id, is_admin, api_key_id, admin_key_id, subject, _ = row
    return Grant(
        organization_id=organization_id,
        project_id=project_id,
        is_admin=is_admin,
        api_key_id=api_key_id,
        admin_key_id=admin_key_id,
        subject=subject,
    )
