"""Add sweeps of hyperparameters, their trials and events."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0025'
down_revision: str | None = '0024'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NOW = sa.text('clock_timestamp()')


def json_column(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), nullable=nullable)


def time_column(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=NOW, nullable=False)


def upgrade() -> None:
    create_sweeps()
    op.create_table(
        'sweep_trials',
        sa.Column('sweep_id', sa.String(), nullable=False),
        sa.Column('index', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('rung', sa.Integer(), nullable=False),
        json_column('hyperparameters'),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('job_id', sa.String()),
        sa.Column('fine_tuned_model', sa.String()),
        sa.Column('value', sa.Float()),
        sa.Column('error_message', sa.String()),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'succeeded', 'failed', 'cancelled', 'deleted')",
            name='state',
        ),
        sa.ForeignKeyConstraint(['sweep_id'], ['sweeps.id'], name='fk_sweep_trials_sweep_id'),
        sa.ForeignKeyConstraint(
            ['job_id'], ['jobs.id'], name='fk_sweep_trials_job_id', ondelete='SET NULL'
        ),
        sa.PrimaryKeyConstraint('sweep_id', 'index', name='pk_sweep_trials'),
        sa.UniqueConstraint('job_id', name='uq_sweep_trials_job_id'),
    )
    op.create_table(
        'sweep_events',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('sweep_id', sa.String(), nullable=False),
        sa.Column('seq', sa.Integer(), nullable=False),
        time_column('created_at'),
        sa.Column('level', sa.String(), nullable=False),
        sa.Column('message', sa.String(), nullable=False),
        json_column('data'),
        sa.ForeignKeyConstraint(['sweep_id'], ['sweeps.id'], name='fk_sweep_events_sweep_id'),
        sa.PrimaryKeyConstraint('id', name='pk_sweep_events'),
        sa.UniqueConstraint('sweep_id', 'seq', name='uq_sweep_events_sweep_id_seq'),
    )


def create_sweeps() -> None:
    op.create_table(
        'sweeps',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        time_column('created_at'),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('strategy', sa.String(), nullable=False),
        json_column('job'),
        json_column('space'),
        sa.Column('max_jobs', sa.Integer(), nullable=False),
        sa.Column('metric', sa.String(), nullable=False),
        sa.Column('seed', sa.Integer(), nullable=False),
        json_column('user_metadata', nullable=True),
        sa.Column('start_model', sa.String()),
        sa.Column('training_file_id', sa.String(), nullable=False),
        sa.Column('validation_file_id', sa.String(), nullable=False),
        sa.Column('test_file_id', sa.String()),
        time_column('advanced_at'),
        sa.Column('finished_at', sa.DateTime(timezone=True)),
        sa.Column('error_message', sa.String()),
        sa.CheckConstraint(
            "state IN ('running', 'succeeded', 'failed', 'cancelled')", name='state'
        ),
        sa.CheckConstraint("strategy IN ('grid', 'random', 'halving')", name='strategy'),
        sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name='fk_sweeps_project_id'),
        *(
            sa.ForeignKeyConstraint([column], ['files.id'], name=f'fk_sweeps_{column}')
            for column in ('training_file_id', 'validation_file_id', 'test_file_id')
        ),
        sa.PrimaryKeyConstraint('id', name='pk_sweeps'),
    )
    op.create_index(
        'ix_sweeps_project_page',
        'sweeps',
        ['project_id', sa.text('created_at DESC'), sa.text('id DESC')],
    )
    op.create_index(
        'ix_sweeps_running',
        'sweeps',
        ['advanced_at'],
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        'ix_sweeps_finished_at',
        'sweeps',
        ['finished_at'],
        postgresql_where=sa.text("state <> 'running'"),
    )
    for column in ('training_file_id', 'validation_file_id', 'test_file_id'):
        op.create_index(f'ix_sweeps_{column}', 'sweeps', [column])


def downgrade() -> None:
    op.drop_table('sweep_events')
    op.drop_table('sweep_trials')
    op.drop_table('sweeps')
