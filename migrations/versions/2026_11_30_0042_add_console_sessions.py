"""Add sessions of the web console."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0042"
down_revision: str | None = "0041"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _owner_columns() -> list[sa.Column[str] | sa.Column[bool]]:
    return [
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String()),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("api_key_id", sa.String()),
        sa.Column("admin_key_id", sa.String()),
        sa.Column("subject", sa.String()),
    ]


def _foreign_keys(table: str) -> list[sa.ForeignKeyConstraint]:
    references = {
        "organization_id": "organizations.id",
        "project_id": "projects.id",
        "api_key_id": "api_keys.id",
        "admin_key_id": "admin_keys.id",
    }
    return [
        sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")
        for column, target in references.items()
    ]


def upgrade() -> None:
    op.create_table(
        "console_sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        *_owner_columns(),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("project_id IS NOT NULL OR is_admin", name="role"),
        *_foreign_keys("console_sessions"),
        sa.PrimaryKeyConstraint("id", name="pk_console_sessions"),
    )
    op.create_index(
        "ix_console_sessions_secret_sha256", "console_sessions", ["secret_sha256"], unique=True
    )
    op.create_index("ix_console_sessions_expires_at", "console_sessions", ["expires_at"])
    op.create_table(
        "console_login_codes",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        *_owner_columns(),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        *_foreign_keys("console_login_codes"),
        sa.PrimaryKeyConstraint("secret_sha256", name="pk_console_login_codes"),
    )
    op.create_index("ix_console_login_codes_expires_at", "console_login_codes", ["expires_at"])


def downgrade() -> None:
    op.drop_table("console_login_codes")
    op.drop_table("console_sessions")
