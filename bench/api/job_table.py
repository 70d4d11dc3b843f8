"""A jobs table like that of a large, old installation, generated inside the database."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import File, Project
from app.organization import api_keys, bootstrap
from app.storage import file_key

PROJECTS = 4
EVENTS_PER_JOB = 30
# Most jobs belong to the first project, whose lists are measured.
INSERT_JOBS = """
INSERT INTO jobs (id, project_id, created_at, state, base_model, training_file_id, method,
    hyperparameters, resolved_hyperparameters, seed, suffix, user_metadata, trained_tokens,
    started_at, finished_at, fine_tuned_model, error_code, error_message)
SELECT 'ftjob-' || left(md5(n::text), 24),
    (cast(:projects AS text[]))[CASE WHEN n % 10 < 7 THEN 1 ELSE n % 10 - 5 END],
    timestamptz '2024-01-01' + n * interval '60 seconds',
    state, 'smollm2-135m-instruct',
    (cast(:files AS text[]))[CASE WHEN n % 10 < 7 THEN 1 ELSE n % 10 - 5 END],
    'supervised', '{"n_epochs": "auto"}',
    '{"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0}', n, 'bench',
    CASE WHEN n % 2 = 0 THEN
        jsonb_build_object('team', 'team-' || n / 10 % 20, 'run', 'run-' || n,
            'owner', 'owner-' || n % 10) END,
    100000 + n, timestamptz '2024-01-01' + n * interval '60 seconds',
    timestamptz '2024-01-01' + n * interval '60 seconds' + interval '9 minutes',
    CASE WHEN state = 'succeeded' THEN 'ft:smollm2-135m-instruct:acme:bench:' || n END,
    CASE WHEN state = 'failed' THEN 'invalid_training_file' END,
    CASE WHEN state = 'failed' THEN 'The training file has 12 errors.' END
FROM (
    SELECT n, CASE WHEN n % 100 < 90 THEN 'succeeded' WHEN n % 100 < 96 THEN 'failed'
        ELSE 'cancelled' END AS state
    FROM generate_series(1, :count) AS n
) AS numbered
"""
# What the table's trigger would do, which session_replication_role disables.
INSERT_METADATA = """
INSERT INTO job_metadata (project_id, key, value, created_at, job_id)
SELECT project_id, key, value, created_at, id FROM jobs, jsonb_each_text(user_metadata)
WHERE jsonb_typeof(user_metadata) = 'object'
"""
INSERT_EVENTS = """
INSERT INTO job_events (id, job_id, seq, attempt, dedupe_key, level, type, message, data)
SELECT 'ftevent-' || left(md5(job.id || n), 24), job.id, n, 1, n::text, 'info', 'metrics',
    'Step ' || n || '/30: training loss=0.71', '{"step": 1, "train_loss": 0.71}'
FROM (SELECT id FROM jobs WHERE project_id = :project ORDER BY created_at DESC LIMIT 1000) AS job,
    generate_series(1, :events_per_job) AS n
"""


@dataclass(frozen=True, slots=True)
class JobTable:
    """The key and id of the largest project, and ids of some of its jobs.

    `sampled` are jobs of any age; `latest` are the newest, which have events.
    """

    key: str
    project_id: str
    sampled: list[str]
    latest: list[str]


def fill(session: Session, organization: str, *, jobs: int) -> JobTable:
    """Insert `jobs` jobs into several projects, and analyze the tables."""
    # For this transaction only. The rows need no constraint checks.
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(text("SET LOCAL session_replication_role = replica"))
    first = bootstrap.ensure_default_project(session, organization)
    owners = [
        first,
        *(_insert_project(session, first.organization_id) for _ in range(PROJECTS - 1)),
    ]
    files = [insert_file(session, owner) for owner in owners]
    values = {"projects": [owner.id for owner in owners], "files": files, "count": jobs}
    session.execute(text(INSERT_JOBS), values)
    session.execute(text(INSERT_METADATA))
    session.execute(text(INSERT_EVENTS), {"project": first.id, "events_per_job": EVENTS_PER_JOB})
    session.execute(text("ANALYZE"))
    return JobTable(
        key=api_keys.create(session, first.id, "bench")[1],
        project_id=first.id,
        sampled=_select_job_ids(session, first.id, "id"),
        latest=_select_job_ids(session, first.id, "created_at DESC"),
    )


def _insert_project(session: Session, organization_id: str) -> Project:
    project = Project(id=ids.project_id(), organization_id=organization_id, name="bench")
    session.add(project)
    session.flush()
    return project


def insert_file(session: Session, owner: Project) -> str:
    """Insert a training file without content; its id."""
    file_id = ids.file_id()
    file = File(
        id=file_id,
        project_id=owner.id,
        filename="train.jsonl",
        purpose="fine-tune",
        bytes=1,
        sha256=file_id,
        storage_key=file_key(owner.id, file_id),
        status="processed",
    )
    session.add(file)
    session.flush()
    return file_id


def _select_job_ids(session: Session, project_id: str, order: str) -> list[str]:
    """The first thousand job ids in an order; ids are hashes, so that `id` gives random ages."""
    statement = f"SELECT id FROM jobs WHERE project_id = :project ORDER BY {order} LIMIT 1000"
    return list(session.scalars(text(statement), {"project": project_id}))
