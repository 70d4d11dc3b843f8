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
            **grant.to_columns(),
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
        .returning(ConsoleLoginCode, ConsoleLoginCode.expires_at > func.clock_timestamp())
    ).one_or_none()
    if row is None:
        return None
    used, is_valid = row
    return Grant.of(used) if is_valid else None
