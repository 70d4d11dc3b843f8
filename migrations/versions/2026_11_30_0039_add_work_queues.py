"""Add the queues of work: projects and lists that wait are found without reading all of them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0039"
down_revision: str | None = "0038"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

HAS_WORK = "phase <> 'ended'"
# Deferred to the commit, so that the project's row is locked for a moment only. The row is locked
# even where nothing changes: a claim that has found nothing may be about to say so.
FUNCTION = """
CREATE FUNCTION work_lists_enqueue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO work_queues (project_id, claimable_at)
    VALUES (NEW.project_id, coalesce(NEW.lease_until, clock_timestamp()))
    ON CONFLICT (project_id) DO UPDATE SET claimable_at = EXCLUDED.claimable_at
    WHERE work_queues.claimable_at IS NULL OR work_queues.claimable_at > EXCLUDED.claimable_at;
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE CONSTRAINT TRIGGER work_lists_enqueue_{event}
AFTER {event} ON work_lists DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN ({condition})
EXECUTE FUNCTION work_lists_enqueue()
"""
CONDITIONS = {
    "insert": "NEW.phase <> 'ended'",
    "update": """
        NEW.phase <> 'ended' AND (
            NEW.phase <> OLD.phase
            OR (NEW.lease_until IS NULL AND OLD.lease_until IS NOT NULL)
            OR NEW.lease_until < OLD.lease_until
        )
    """,
}


def upgrade() -> None:
    op.create_table(
        "work_queues",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column(
            "served_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("claimable_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_work_queues_project_id"),
        sa.PrimaryKeyConstraint("project_id", name="pk_work_queues"),
    )
    op.create_index(
        "ix_work_queues_turn",
        "work_queues",
        ["served_at"],
        postgresql_where=sa.text("claimable_at IS NOT NULL"),
    )
    op.create_index(
        "ix_work_lists_turn",
        "work_lists",
        ["project_id", "served_at"],
        postgresql_where=sa.text(HAS_WORK),
    )
    op.create_index(
        "ix_work_lists_expires_at",
        "work_lists",
        ["expires_at"],
        postgresql_where=sa.text("phase IN ('planning', 'running')"),
    )
    op.execute(FUNCTION)
    for event, condition in CONDITIONS.items():
        op.execute(TRIGGER.format(event=event, condition=condition))
    # After the triggers, whose table is locked until the end: no list is missed.
    op.execute(f"""
        INSERT INTO work_queues (project_id, claimable_at)
        SELECT DISTINCT project_id, clock_timestamp() FROM work_lists WHERE {HAS_WORK}
        ON CONFLICT (project_id) DO NOTHING
    """)


def downgrade() -> None:
    for event in CONDITIONS:
        op.execute(f"DROP TRIGGER work_lists_enqueue_{event} ON work_lists")
    op.execute("DROP FUNCTION work_lists_enqueue()")
    for name in ("expires_at", "turn"):
        op.drop_index(f"ix_work_lists_{name}", table_name="work_lists")
    op.drop_table("work_queues")
