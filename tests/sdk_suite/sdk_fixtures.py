"""A plugin of pytest for the SDK's own tests: the rows whose ids they use, anew before each.

They were written against a server that makes up an answer to anything. Ours has state, so a test
that pauses a job finds it running, and one that resumes it finds it paused.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.auth import secrets
from app.db.base import Base
from app.db.session import create_database_engine
from app.db.tables import (
    AdminKey,
    ApiKey,
    CheckpointPermission,
    File,
    FineTunedModel,
    Job,
    Organization,
    Project,
    Upload,
    UploadPart,
)
from app.settings import Settings
from app.storage import ObjectStore, file_key, open_store, upload_part_key

# The SDK's own: see its tests/conftest.py.
API_KEY = "My API Key"
OWNER = "proj_sdk"
# What the tests share a checkpoint with, and by which they ask for permissions.
OTHERS = ("string", "project_id")
BASE = "base"
JOB = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
FILES = ("file_id", "file-abc123")
UPLOAD = "upload_abc123"
PART = "string"
CHECKPOINT = "ft:gpt-4o-mini-2024-07-18:org:weather:B7R9VjQd"
# The generated tests use the id of a job in place of a checkpoint's name, too.
MODELS = ("ft:gpt-4o-mini:acemeco:suffix:abc123", CHECKPOINT, JOB)
PERMISSION = "cp_zc4Q7MP6XxulcVzj4MZdwsAB"
CONTENT = b"Example data"


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings()


@pytest.fixture(scope="session")
def database() -> Iterator[Engine]:
    engine = create_database_engine(os.environ["DATABASE_URL"], pool_size=1)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def store(settings: Settings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest, database: Engine, store: ObjectStore) -> None:
    test = request.node.nodeid
    for file_id in FILES:
        store.put(file_key(OWNER, file_id), CONTENT)
    store.put(upload_part_key(OWNER, UPLOAD, PART), CONTENT)
    with Session(database) as session, session.begin():
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
        for row in (*_owners(test), *_files(), _job(test), *_uploads(test), *_models()):
            session.add(row)
            # One by one: without relationships the mapper does not know which must be first.
            session.flush()


def _owners(test: str) -> list[Base]:
    owner = Organization(id="org-sdk", slug="org")
    projects = [Project(id=id, organization_id=owner.id, name=id) for id in (OWNER, *OTHERS)]
    columns = secrets.new_key_columns(API_KEY, name="sdk", expires_in=None)
    # Permissions are an administrator's, whose client has an admin key for its key.
    if "permissions" in test:
        return [owner, *projects, AdminKey(organization_id=owner.id, **columns)]
    return [owner, *projects, ApiKey(project_id=OWNER, **columns)]


def _files() -> list[Base]:
    return [
        File(
            id=id,
            project_id=OWNER,
            filename="train.jsonl",
            purpose="fine-tune",
            bytes=len(CONTENT),
            sha256="",
            storage_key=file_key(OWNER, id),
            status="processed",
            format="chat",
            examples=12,
        )
        for id in FILES
    ]


def _job(test: str) -> Base:
    return Job(
        id=JOB,
        project_id=OWNER,
        state="paused" if "resume" in test else "running",
        base_model=BASE,
        method="supervised",
        hyperparameters={},
        seed=1,
        # Not the file that tests delete.
        training_file_id=FILES[1],
    )


def _uploads(test: str) -> list[Base]:
    """One that waits for its parts; where the test names a checksum that its bytes do not have,
    one that was completed with just that, so that the same request gets the same answer."""
    done = "complete_with_all_params" in test
    adds = "test_parts" in test
    upload = Upload(
        id=UPLOAD,
        project_id=OWNER,
        filename="filename",
        purpose="assistants",
        bytes=1024 if adds else len(CONTENT),
        state="completed" if done else "pending",
        part_ids=[PART] if done else None,
        md5="md5" if done else None,
        file_id=FILES[0] if done else None,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    part = UploadPart(
        id=PART,
        upload_id=UPLOAD,
        bytes=len(CONTENT),
        storage_key=upload_part_key(OWNER, UPLOAD, PART),
    )
    return [upload] if done or adds else [upload, part]


def _models() -> list[Base]:
    models = [
        FineTunedModel(
            name=name,
            project_id=OWNER,
            job_id=JOB,
            base_model=BASE,
            storage_prefix=f"projects/{OWNER}/jobs/{JOB}/e1/step-{number}",
        )
        for number, name in enumerate(MODELS)
    ]
    permission = CheckpointPermission(id=PERMISSION, model_name=CHECKPOINT, project_id=OTHERS[0])
    return [*models, permission]
