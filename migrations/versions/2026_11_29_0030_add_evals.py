"""Add evals."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0030'
down_revision: str | None = '0029'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NOW = sa.text('clock_timestamp()')


def json_column(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), nullable=nullable)


def time_column(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=NOW, nullable=False)


def upgrade() -> None:
    op.create_table(
        'evals',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        time_column('created_at'),
        time_column('updated_at'),
        sa.Column('name', sa.String(), nullable=False),
        json_column('user_metadata', nullable=True),
        json_column('data_source_config'),
        json_column('testing_criteria'),
        sa.Column('deleted_at', sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name='fk_evals_project_id'),
        sa.PrimaryKeyConstraint('id', name='pk_evals'),
    )
    op.create_index('ix_evals_project_page', 'evals', ['project_id', 'created_at', 'id'])
    op.create_index('ix_evals_project_updates', 'evals', ['project_id', 'updated_at', 'id'])
    op.create_index(
        'ix_evals_deleted_at',
        'evals',
        ['deleted_at'],
        postgresql_where=sa.text('deleted_at IS NOT NULL'),
    )


def downgrade() -> None:
    op.drop_table('evals')
