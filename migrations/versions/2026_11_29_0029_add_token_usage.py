"""Add the tokens of requests by minute, key and model."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0029'
down_revision: str | None = '0028'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        'token_usage',
        sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('api_key_id', sa.String(), nullable=False),
        sa.Column('model', sa.String(), nullable=False),
        sa.Column('kind', sa.String(), nullable=False),
        sa.Column('is_batch', sa.Boolean(), nullable=False),
        sa.Column('requests', sa.BigInteger(), nullable=False),
        sa.Column('input_tokens', sa.BigInteger(), nullable=False),
        sa.Column('cached_tokens', sa.BigInteger(), nullable=False),
        sa.Column('output_tokens', sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('completions', 'embeddings')", name=op.f('ck_token_usage_kind')
        ),
        sa.PrimaryKeyConstraint(
            'started_at',
            'project_id',
            'api_key_id',
            'model',
            'kind',
            'is_batch',
            name=op.f('pk_token_usage'),
        ),
    )
    op.create_index(
        op.f('ix_token_usage_project_id_started_at'), 'token_usage', ['project_id', 'started_at']
    )


    op.add_column('batches', sa.Column('api_key_id', sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column('batches', 'api_key_id')
    op.drop_table('token_usage')
