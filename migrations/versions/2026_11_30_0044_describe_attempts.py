"""Add to attempts where they began and ended, why, and the tail of their logs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0044"
down_revision: str | None = "0043"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = {
    "resumed_step": sa.Integer(),
    "reached_step": sa.Integer(),
    "end_reason": sa.String(),
    "message": sa.String(),
    "log_tail": sa.String(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("job_attempts", sa.Column(name, kind))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("job_attempts", name)
