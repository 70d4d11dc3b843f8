"""Add work over lists of items, and batches."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0028'
down_revision: str | None = '0027'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NOW = sa.text('clock_timestamp()')
FILES = ('input_file_id', 'output_file_id', 'error_file_id')

# As those of files: the parts of results that ranges have stored count as stored bytes.
USAGE_FUNCTION = """
CREATE FUNCTION work_ranges_record_storage_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.bytes <> 0 THEN
        INSERT INTO storage_usage (project_id, bytes, files)
        SELECT project_id, -OLD.bytes, 0 FROM work_lists WHERE id = OLD.list_id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.bytes <> 0 THEN
        INSERT INTO storage_usage (project_id, bytes, files)
        SELECT project_id, NEW.bytes, 0 FROM work_lists WHERE id = NEW.list_id;
    END IF;
    RETURN NULL;
END
$$
"""
USAGE_TRIGGER = """
CREATE TRIGGER work_ranges_record_storage_usage
AFTER INSERT OR DELETE OR UPDATE OF bytes ON work_ranges
FOR EACH ROW EXECUTE FUNCTION work_ranges_record_storage_usage()
"""


def json_column(
    name: str, *, nullable: bool = False, default: str | None = None
) -> sa.Column[object]:
    kind = postgresql.JSONB(astext_type=sa.Text())
    return sa.Column(name, kind, nullable=nullable, server_default=default)


def time_column(name: str, *, is_now: bool = False) -> sa.Column[object]:
    default = NOW if is_now else None
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=default, nullable=not is_now
    )


def count_column(name: str, kind: type[sa.Integer] = sa.Integer) -> sa.Column[int]:
    return sa.Column(name, kind(), server_default='0', nullable=False)


def upgrade() -> None:
    create_lists()
    create_ranges()
    op.create_table(
        'work_results',
        sa.Column('list_id', sa.String(), nullable=False),
        sa.Column('index', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('is_success', sa.Boolean(), nullable=False),
        sa.Column('body', sa.LargeBinary(), nullable=False),
        time_column('created_at', is_now=True),
        sa.ForeignKeyConstraint(
            ['list_id'], ['work_lists.id'], name='fk_work_results_list_id', ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('list_id', 'index', name='pk_work_results'),
    )
    create_batches()


def create_lists() -> None:
    op.create_table(
        'work_lists',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('kind', sa.String(), nullable=False),
        sa.Column('phase', sa.String(), nullable=False),
        sa.Column('stop_reason', sa.String()),
        sa.Column('stop_message', sa.String()),
        time_column('created_at', is_now=True),
        time_column('expires_at'),
        time_column('served_at', is_now=True),
        count_column('attempt', sa.BigInteger),
        count_column('failures'),
        time_column('lease_until'),
        sa.CheckConstraint(
            "phase IN ('planning', 'running', 'finishing', 'ended')", name='phase'
        ),
        sa.CheckConstraint("stop_reason IN ('cancelled', 'expired', 'failed')", name='stop_reason'),
        sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name='fk_work_lists_project_id'),
        sa.PrimaryKeyConstraint('id', name='pk_work_lists'),
    )
    op.create_index(
        'ix_work_lists_open',
        'work_lists',
        ['served_at'],
        postgresql_where=sa.text("phase <> 'ended'"),
    )
    op.create_index('ix_work_lists_project_id', 'work_lists', ['project_id'])


def create_ranges() -> None:
    op.create_table(
        'work_ranges',
        sa.Column('list_id', sa.String(), nullable=False),
        sa.Column('first_index', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('end_index', sa.Integer(), nullable=False),
        json_column('source'),
        count_column('attempt', sa.BigInteger),
        count_column('failures'),
        time_column('lease_until'),
        count_column('succeeded'),
        count_column('failed'),
        json_column('totals', default='{}'),
        time_column('done_at'),
        sa.Column('storage_key', sa.String()),
        count_column('bytes', sa.BigInteger),
        count_column('split_at', sa.BigInteger),
        sa.ForeignKeyConstraint(
            ['list_id'], ['work_lists.id'], name='fk_work_ranges_list_id', ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('list_id', 'first_index', name='pk_work_ranges'),
    )
    op.create_index('ix_work_ranges_storage_key', 'work_ranges', ['storage_key'])
    op.execute(USAGE_FUNCTION)
    op.execute(USAGE_TRIGGER)


def create_batches() -> None:
    op.create_table(
        'batches',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('endpoint', sa.String(), nullable=False),
        sa.Column('completion_window', sa.String(), nullable=False),
        sa.Column('model', sa.String()),
        sa.Column('input_file_id', sa.String(), nullable=False),
        sa.Column('output_file_id', sa.String()),
        sa.Column('error_file_id', sa.String()),
        sa.Column('output_expires_after_seconds', sa.Integer()),
        json_column('errors', nullable=True),
        json_column('user_metadata', nullable=True),
        *map(count_column, ('num_requests', 'num_completed', 'num_failed')),
        *(
            count_column(f'{name}_tokens', sa.BigInteger)
            for name in ('input', 'cached', 'output', 'reasoning')
        ),
        time_column('created_at', is_now=True),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        *map(time_column, ('in_progress_at', 'finalizing_at', 'cancelling_at', 'ended_at')),
        sa.CheckConstraint(
            "state IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', "
            "'expired', 'cancelling', 'cancelled')",
            name='state',
        ),
        sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name='fk_batches_project_id'),
        *(
            sa.ForeignKeyConstraint([column], ['files.id'], name=f'fk_batches_{column}')
            for column in FILES
        ),
        sa.PrimaryKeyConstraint('id', name='pk_batches'),
    )
    op.create_index(
        'ix_batches_project_page',
        'batches',
        ['project_id', sa.text('created_at DESC'), sa.text('id DESC')],
    )
    op.create_index(
        'ix_batches_ended_at',
        'batches',
        ['ended_at'],
        postgresql_where=sa.text('ended_at IS NOT NULL'),
    )
    for column in FILES:
        op.create_index(f'ix_batches_{column}', 'batches', [column])


def downgrade() -> None:
    op.drop_table('batches')
    op.drop_table('work_results')
    op.execute('DROP TRIGGER work_ranges_record_storage_usage ON work_ranges')
    op.drop_table('work_ranges')
    op.execute('DROP FUNCTION work_ranges_record_storage_usage()')
    op.drop_table('work_lists')
