"""List the projects that a console session may switch to."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0100"
down_revision: str | None = "0099"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("console_sessions", sa.Column("project_ids", postgresql.JSONB()))


def downgrade() -> None:
    op.drop_column("console_sessions", "project_ids")
