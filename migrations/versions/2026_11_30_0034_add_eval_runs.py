"""Add runs of evals and their output items, whose bytes count as the project's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0034'
down_revision: str | None = '0033'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NOW = sa.text('clock_timestamp()')

# Triggers, as those of files, so that every way of adding and deleting rows is counted. One row for
# each statement: a run has thousands of items.
USAGE_FUNCTION = """
CREATE FUNCTION eval_output_items_record_storage_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO storage_usage (project_id, bytes, files)
    SELECT project_id, CASE TG_OP WHEN 'DELETE' THEN -sum(bytes) ELSE sum(bytes) END, 0
    FROM changed GROUP BY project_id;
    RETURN NULL;
END
$$
"""
USAGE_TRIGGER = """
CREATE TRIGGER eval_output_items_record_storage_usage_on_{event}
AFTER {event} ON eval_output_items REFERENCING {transition} TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION eval_output_items_record_storage_usage()
"""
TRANSITIONS = {'insert': 'NEW', 'delete': 'OLD'}
# Deleted texts stay on the disk until a vacuum: not only once a fifth of a large table is deleted.
VACUUM_SOON = """
ALTER TABLE eval_output_items SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 200
)
"""


def json_column(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), nullable=nullable)


def created_at() -> sa.Column[object]:
    return sa.Column(
        'created_at', sa.DateTime(timezone=True), server_default=NOW, nullable=False
    )


def upgrade() -> None:
    create_runs()
    op.create_table(
        'eval_output_items',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('run_id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('index', sa.Integer(), nullable=False),
        created_at(),
        sa.Column('status', sa.String(), nullable=False),
        sa.Column('content', sa.LargeBinary(), nullable=False),
        sa.Column('bytes', sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('pass', 'fail', 'error')", name='status'),
        sa.ForeignKeyConstraint(
            ['run_id'], ['eval_runs.id'], name='fk_eval_output_items_run_id'
        ),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name='fk_eval_output_items_project_id'
        ),
        sa.PrimaryKeyConstraint('id', name='pk_eval_output_items'),
        sa.UniqueConstraint('run_id', 'index', name='uq_eval_output_items_run_id_index'),
    )
    op.create_index(
        'ix_eval_output_items_status', 'eval_output_items', ['run_id', 'status', 'index']
    )
    op.create_index('ix_eval_output_items_project_id', 'eval_output_items', ['project_id'])
    op.execute(USAGE_FUNCTION)
    for event, transition in TRANSITIONS.items():
        op.execute(USAGE_TRIGGER.format(event=event, transition=transition))
    op.execute(VACUUM_SOON)


def create_runs() -> None:
    op.create_table(
        'eval_runs',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('eval_id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('api_key_id', sa.String()),
        created_at(),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('model', sa.String(), nullable=False),
        json_column('user_metadata', nullable=True),
        json_column('data_source'),
        sa.Column('file_id', sa.String()),
        sa.Column('num_items', sa.Integer(), server_default='0', nullable=False),
        json_column('totals', nullable=True),
        sa.Column('metrics', sa.LargeBinary()),
        sa.Column('error_code', sa.String()),
        sa.Column('error_message', sa.String()),
        sa.Column('ended_at', sa.DateTime(timezone=True)),
        sa.Column('deleted_at', sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "state IN ('queued', 'in_progress', 'completed', 'canceled', 'failed')", name='state'
        ),
        sa.ForeignKeyConstraint(['eval_id'], ['evals.id'], name='fk_eval_runs_eval_id'),
        sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name='fk_eval_runs_project_id'),
        sa.ForeignKeyConstraint(['file_id'], ['files.id'], name='fk_eval_runs_file_id'),
        sa.PrimaryKeyConstraint('id', name='pk_eval_runs'),
    )
    op.create_index('ix_eval_runs_eval_page', 'eval_runs', ['eval_id', 'created_at', 'id'])
    op.create_index('ix_eval_runs_project_id_state', 'eval_runs', ['project_id', 'state'])
    op.create_index('ix_eval_runs_file_id', 'eval_runs', ['file_id'])
    op.create_index(
        'ix_eval_runs_ended_at',
        'eval_runs',
        ['ended_at'],
        postgresql_where=sa.text('ended_at IS NOT NULL'),
    )
    op.create_index(
        'ix_eval_runs_deleted_at',
        'eval_runs',
        ['deleted_at'],
        postgresql_where=sa.text('deleted_at IS NOT NULL'),
    )


def downgrade() -> None:
    op.drop_table('eval_output_items')
    op.execute('DROP FUNCTION eval_output_items_record_storage_usage()')
    op.drop_table('eval_runs')
