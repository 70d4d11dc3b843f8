"""Add the log of changes, which triggers write."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0043"
down_revision: str | None = "0042"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Triggers, since processes of the previous version write these tables too, and many places do.
# They append rows, which no other transaction waits for.
# (table, type of the notice, column that names the object)
TABLES = (
    ("jobs", "fine_tuning.job", "id"),
    ("files", "file", "id"),
    ("batches", "batch", "id"),
    ("eval_runs", "eval.run", "id"),
    ("model_exports", "model.export", "model_name"),
)
FUNCTION = """
CREATE FUNCTION {table}_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (project_id, type, object_id)
    VALUES (NEW.project_id, '{type}', NEW.{column});
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER {table}_log_change
AFTER INSERT OR UPDATE ON {table}
FOR EACH ROW EXECUTE FUNCTION {table}_log_change()
"""
# Metrics come with events: many rows of one job.
EVENTS_FUNCTION = """
CREATE FUNCTION job_events_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (project_id, type, object_id)
    SELECT jobs.project_id, 'fine_tuning.job', jobs.id FROM jobs
    WHERE jobs.id IN (SELECT job_id FROM added);
    RETURN NULL;
END
$$
"""
EVENTS_TRIGGER = """
CREATE TRIGGER job_events_log_change
AFTER INSERT ON job_events REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION job_events_log_change()
"""
# The counts of batches and eval runs in progress are those of their ranges.
RANGES_FUNCTION = """
CREATE FUNCTION work_ranges_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (project_id, type, object_id)
    SELECT project_id, CASE kind WHEN 'batch' THEN 'batch' ELSE 'eval.run' END, id
    FROM work_lists WHERE id = NEW.list_id AND kind IN ('batch', 'eval_run');
    RETURN NULL;
END
$$
"""
RANGES_TRIGGER = """
CREATE TRIGGER work_ranges_log_change
AFTER UPDATE OF succeeded, failed ON work_ranges
FOR EACH ROW
WHEN (OLD.succeeded <> NEW.succeeded OR OLD.failed <> NEW.failed)
EXECUTE FUNCTION work_ranges_log_change()
"""


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_changes"),
    )
    for table, type_, column in TABLES:
        op.execute(FUNCTION.format(table=table, type=type_, column=column))
        op.execute(TRIGGER.format(table=table))
    for statement in (EVENTS_FUNCTION, EVENTS_TRIGGER, RANGES_FUNCTION, RANGES_TRIGGER):
        op.execute(statement)


def downgrade() -> None:
    for table in (*(table for table, _, _ in TABLES), "job_events", "work_ranges"):
        op.execute(f"DROP TRIGGER {table}_log_change ON {table}")
        op.execute(f"DROP FUNCTION {table}_log_change()")
    op.drop_table("changes")
