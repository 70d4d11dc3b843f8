"""Add archiving of projects, service accounts, admin keys and checkpoint permissions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0007'
down_revision: str | None = '0006'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def created_at() -> sa.Column[object]:
    return sa.Column(
        'created_at',
        sa.DateTime(timezone=True),
        server_default=sa.text('clock_timestamp()'),
        nullable=False,
    )


def upgrade() -> None:
    op.add_column('projects', sa.Column('archived_at', sa.DateTime(timezone=True)))
    op.create_index(
        'ix_projects_organization_page',
        'projects',
        ['organization_id', sa.literal_column('created_at DESC'), sa.literal_column('id DESC')],
    )
    op.create_table(
        'service_accounts',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('role', sa.String(), nullable=False),
        created_at(),
        sa.Column('deleted_at', sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "role IN ('owner', 'member', 'none')", name=op.f('ck_service_accounts_role')
        ),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name=op.f('fk_service_accounts_project_id')
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_service_accounts')),
    )
    op.create_index(
        op.f('ix_service_accounts_project_id_created_at_id'),
        'service_accounts',
        ['project_id', 'created_at', 'id'],
    )
    op.add_column('api_keys', sa.Column('expires_at', sa.DateTime(timezone=True)))
    op.add_column('api_keys', sa.Column('service_account_id', sa.String()))
    op.create_foreign_key(
        op.f('fk_api_keys_service_account_id'),
        'api_keys',
        'service_accounts',
        ['service_account_id'],
        ['id'],
    )
    op.create_index(
        op.f('ix_api_keys_project_id_created_at_id'), 'api_keys', ['project_id', 'created_at', 'id']
    )
    op.create_table(
        'admin_keys',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('secret_sha256', sa.LargeBinary(), nullable=False),
        sa.Column('redacted', sa.String(), nullable=False),
        created_at(),
        sa.Column('last_used_at', sa.DateTime(timezone=True)),
        sa.Column('expires_at', sa.DateTime(timezone=True)),
        sa.Column('revoked_at', sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ['organization_id'], ['organizations.id'], name=op.f('fk_admin_keys_organization_id')
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_admin_keys')),
    )
    op.create_index(
        op.f('ix_admin_keys_secret_sha256'), 'admin_keys', ['secret_sha256'], unique=True
    )
    op.create_table(
        'checkpoint_permissions',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('model_name', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        created_at(),
        sa.ForeignKeyConstraint(
            ['model_name'], ['tuned_models.name'], name=op.f('fk_checkpoint_permissions_model_name')
        ),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name=op.f('fk_checkpoint_permissions_project_id')
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_checkpoint_permissions')),
        sa.UniqueConstraint(
            'model_name', 'project_id', name=op.f('uq_checkpoint_permissions_model_name_project_id')
        ),
    )
    op.create_index(
        op.f('ix_checkpoint_permissions_project_id'), 'checkpoint_permissions', ['project_id']
    )


def downgrade() -> None:
    op.drop_table('checkpoint_permissions')
    op.drop_table('admin_keys')
    op.drop_index(op.f('ix_api_keys_project_id_created_at_id'), 'api_keys')
    op.drop_column('api_keys', 'service_account_id')
    op.drop_column('api_keys', 'expires_at')
    op.drop_table('service_accounts')
    op.drop_index('ix_projects_organization_page', 'projects')
    op.drop_column('projects', 'archived_at')
