"""Compare the runs of jobs' evaluations by stored scores, in turn, and count the bytes of runs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0038"
down_revision: str | None = "0037"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSONB = postgresql.JSONB(astext_type=sa.Text())
# As those of responses. Runs of before have 0 bytes.
USAGE_FUNCTION = """
CREATE FUNCTION eval_runs_record_storage_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO storage_usage (project_id, bytes, files)
        VALUES (OLD.project_id, -OLD.bytes, 0);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO storage_usage (project_id, bytes, files) VALUES (NEW.project_id, NEW.bytes, 0);
    END IF;
    RETURN NULL;
END
$$
"""
USAGE_TRIGGER = """
CREATE TRIGGER eval_runs_record_storage_usage
AFTER INSERT OR DELETE OR UPDATE OF bytes ON eval_runs
FOR EACH ROW EXECUTE FUNCTION eval_runs_record_storage_usage()
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("evaluations_checked_at", sa.DateTime(timezone=True)))
    op.add_column("eval_runs", sa.Column("completion_ids", JSONB))
    op.add_column(
        "eval_runs", sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("eval_output_items", sa.Column("scores", JSONB))
    op.execute(USAGE_FUNCTION)
    op.execute(USAGE_TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER eval_runs_record_storage_usage ON eval_runs")
    op.execute("DROP FUNCTION eval_runs_record_storage_usage()")
    op.drop_column("eval_output_items", "scores")
    op.drop_column("eval_runs", "bytes")
    op.drop_column("eval_runs", "completion_ids")
    op.drop_column("jobs", "evaluations_checked_at")
