"""Rename tables and columns to the terms of the field."""

from collections.abc import Iterable, Sequence

from alembic import op

revision: str = '0016'
down_revision: str | None = '0015'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Processes of the previous version query the old names, those of this version the new ones.
requires_downtime = True

TABLES = {
    'duties': 'periodic_tasks',
    'repeats': 'idempotency_keys',
    'model_hours': 'model_traffic_hourly',
    'workers': 'trainers',
    'tuned_models': 'fine_tuned_models',
    'usage': 'training_usage',
}
# Of tables by their new names.
COLUMNS = {
    'jobs': {
        'epoch': 'attempt',
        'resolved': 'resolved_hyperparameters',
        'micro_batch': 'micro_batch_size',
        'tuned_model': 'fine_tuned_model',
        'reference': 'drift_baseline',
    },
    'job_leases': {'epoch': 'attempt', 'worker': 'trainer'},
    'job_attempts': {'epoch': 'attempt', 'worker': 'trainer'},
    'job_events': {'epoch': 'attempt'},
    'job_metrics': {'epoch': 'attempt'},
    'checkpoints': {'epoch': 'attempt'},
    'files': {'faults': 'validation_errors'},
    'periodic_tasks': {'every_seconds': 'interval_seconds'},
    'idempotency_keys': {
        'project_id': 'owner_id',
        'status': 'response_status',
        'answer': 'response_body',
    },
    'predictions': {
        'found': 'predicted_labels',
        'truth': 'true_labels',
        'answer_id': 'response_id',
    },
    'webhook_deliveries': {'next_at': 'next_attempt_at'},
}
CONSTRAINTS = {
    'periodic_tasks': {'pk_duties': 'pk_periodic_tasks'},
    'idempotency_keys': {'pk_repeats': 'pk_idempotency_keys'},
    'model_traffic_hourly': {'pk_model_hours': 'pk_model_traffic_hourly'},
    'trainers': {'pk_workers': 'pk_trainers', 'ck_workers_state': 'ck_trainers_state'},
    'fine_tuned_models': {
        'pk_tuned_models': 'pk_fine_tuned_models',
        'fk_tuned_models_job_id': 'fk_fine_tuned_models_job_id',
        'fk_tuned_models_project_id': 'fk_fine_tuned_models_project_id',
    },
    'training_usage': {
        'pk_usage': 'pk_training_usage',
        'fk_usage_job_id': 'fk_training_usage_job_id',
        'fk_usage_project_id': 'fk_training_usage_project_id',
    },
    'job_metadata': {
        'fk_job_metadata_job_id_jobs': 'fk_job_metadata_job_id',
        'fk_job_metadata_project_id_projects': 'fk_job_metadata_project_id',
    },
}
INDEXES = {
    'ix_repeats_created_at': 'ix_idempotency_keys_created_at',
    'ix_model_hours_hour': 'ix_model_traffic_hourly_hour',
    'ix_predictions_answer_id': 'ix_predictions_response_id',
    'ix_tuned_models_project_page': 'ix_fine_tuned_models_project_page',
}
# Names in `luthier doctor` and in labels of /metrics.
TASKS = {
    'validate': 'validate_jobs',
    'ring_again': 'renotify_queued_jobs',
    'remove_parts': 'delete_upload_parts',
    'prune_repeats': 'prune_idempotency_keys',
    'prune_deliveries': 'prune_webhook_deliveries',
    'prune_traffic': 'prune_model_traffic',
    'prune_workers': 'prune_trainers',
    'relay_outbox': 'dispatch_outbox',
    'sweep_unfinished_uploads': 'delete_unfinished_uploads',
    'sweep_orphans': 'delete_orphaned_objects',
    'sweep_run_folders': 'delete_stale_run_folders',
}
OUTBOX_KINDS = {'bell': 'notify'}
# Keys of JSON columns: table, column, path of the object, names.
JSON_KEYS: list[tuple[str, str, str | None, dict[str, str]]] = [
    (
        'jobs',
        'drift_baseline',
        None,
        {'many': 'multi_label', 'lengths': 'text_lengths', 'unknown': 'unknown_token_ratio'},
    ),
    (
        'model_traffic_hourly',
        'counts',
        None,
        {
            'seconds': 'duration_seconds',
            'lengths': 'text_lengths',
            'unknown': 'unknown_token_ratio',
        },
    ),
    (
        'model_traffic_hourly',
        'counts',
        'requests',
        {
            'answered': 'succeeded',
            'refused': 'client_error',
            'failed': 'server_error',
            'left': 'client_disconnected',
        },
    ),
    ('model_traffic_hourly', 'counts', 'sums', {'judged': 'labelled', 'right': 'correct'}),
]


def upgrade() -> None:
    for old, new in TABLES.items():
        op.rename_table(old, new)
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.alter_column(table, old, new_column_name=new)
    for table, constraints in CONSTRAINTS.items():
        for old, new in constraints.items():
            op.execute(f'ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}')
    for old, new in INDEXES.items():
        op.execute(f'ALTER INDEX {old} RENAME TO {new}')
    rename_values('periodic_tasks', 'name', TASKS)
    rename_values('outbox', 'kind', OUTBOX_KINDS)
    for table, column, path, keys in JSON_KEYS:
        rename_keys(table, column, path, keys)


def downgrade() -> None:
    for table, column, path, keys in JSON_KEYS:
        rename_keys(table, column, path, inverse(keys))
    rename_values('outbox', 'kind', inverse(OUTBOX_KINDS))
    rename_values('periodic_tasks', 'name', inverse(TASKS))
    for new, old in INDEXES.items():
        op.execute(f'ALTER INDEX {old} RENAME TO {new}')
    for table, constraints in CONSTRAINTS.items():
        for new, old in constraints.items():
            op.execute(f'ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}')
    for table, columns in COLUMNS.items():
        for new, old in columns.items():
            op.alter_column(table, old, new_column_name=new)
    for new, old in TABLES.items():
        op.rename_table(old, new)


def inverse(names: dict[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def rename_values(table: str, column: str, names: dict[str, str]) -> None:
    op.execute(
        f'UPDATE {table} SET {column} = {case(column, names)} WHERE {column} IN ({sql_list(names)})'
    )


def rename_keys(table: str, column: str, path: str | None, names: dict[str, str]) -> None:
    source = column if path is None else f"{column}->'{path}'"
    renamed = (
        f"(SELECT coalesce(jsonb_object_agg({case('key', names)}, value), '{{}}')"
        f' FROM jsonb_each({source}))'
    )
    if path is not None:
        renamed = f"jsonb_set({column}, '{{{path}}}', {renamed})"
    op.execute(
        f'UPDATE {table} SET {column} = {renamed}'
        f" WHERE jsonb_typeof({source}) = 'object' AND {source} ?| ARRAY[{sql_list(names)}]"
    )


def case(expression: str, names: dict[str, str]) -> str:
    branches = ' '.join(f"WHEN '{old}' THEN '{new}'" for old, new in names.items())
    return f'CASE {expression} {branches} ELSE {expression} END'


def sql_list(values: Iterable[str]) -> str:
    return ', '.join(f"'{value}'" for value in values)
