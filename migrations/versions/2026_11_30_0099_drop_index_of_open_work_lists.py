"""Drop the index of open lists of work, which the queues of projects replaced."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0099"
down_revision: str | None = "0044"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Processes of the version before claim by it.
contracting = True


def upgrade() -> None:
    # It is not there where an early form of 0039 or 0040 dropped it.
    op.drop_index("ix_work_lists_open", table_name="work_lists", if_exists=True)


def downgrade() -> None:
    op.create_index(
        "ix_work_lists_open",
        "work_lists",
        ["served_at"],
        postgresql_where=sa.text("phase <> 'ended'"),
    )
