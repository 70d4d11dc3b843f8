"""Garbage collection of stored objects without an owner."""

import pytest
from sqlalchemy import func
from sqlalchemy.orm import Session

from app.db.session import SessionMaker
from app.db.tables import Checkpoint, CheckpointKind, FineTunedModel, Job, JobAttempt, JobState
from app.files import uploads
from app.files.schemas import CreateUpload
from app.operations.orphaned_objects import OrphanCollector
from app.storage import ObjectStore, checkpoint_prefix, file_key, join_key, upload_part_key
from tests.factories import make_file, make_job, make_project


@pytest.fixture
def job(session: Session) -> Job:
    return make_job(session, state=JobState.SUCCEEDED, attempt=2)


@pytest.fixture
def collector(sessions: SessionMaker, store: ObjectStore) -> OrphanCollector:
    return OrphanCollector(sessions, store)


def put_checkpoint(store: ObjectStore, job: Job, *, attempt: int, step: int) -> str:
    """Store an object of a checkpoint; return the checkpoint's prefix."""
    prefix = checkpoint_prefix(job.project_id, job.id, attempt, step)
    store.put(join_key(prefix, "manifest.json"), b"{}")
    return prefix


def list_keys(store: ObjectStore) -> list[str]:
    return list(store.list(""))


def test_unowned_objects_are_deleted_by_the_second_run(
    session: Session, store: ObjectStore, collector: OrphanCollector, job: Job
) -> None:
    session.commit()
    put_checkpoint(store, job, attempt=1, step=3)
    store.put(file_key(job.project_id, "file-never"), b"")
    assert collector.collect() == 0
    assert len(list_keys(store)) == 2
    assert collector.collect() == 2
    assert list_keys(store) == []


def test_objects_of_unknown_projects_are_kept(
    store: ObjectStore, collector: OrphanCollector
) -> None:
    """Another Luthier may share the bucket, or this one may have a new database."""
    theirs = file_key("proj_of_another_database", "file-theirs")
    store.put(theirs, b"")
    for _ in range(2):
        assert collector.collect() == 0
    assert list_keys(store) == [theirs]


def test_an_object_that_gets_its_row_between_two_runs_is_kept(
    session: Session, store: ObjectStore, collector: OrphanCollector
) -> None:
    project = make_project(session)
    file = make_file(session, project)
    store.put(file.storage_key, b"")
    collector.collect()
    session.commit()
    assert collector.collect() == 0
    assert list_keys(store) == [file.storage_key]


def test_files_checkpoints_and_models_are_kept(
    session: Session, store: ObjectStore, collector: OrphanCollector, job: Job
) -> None:
    file = make_file(session, make_project(session))
    store.put(file.storage_key, b"")
    session.add(
        Checkpoint(
            id="ftckpt_1",
            job_id=job.id,
            attempt=2,
            step=3,
            kind=CheckpointKind.USER,
            storage_prefix=put_checkpoint(store, job, attempt=2, step=3),
            manifest_sha256="",
            bytes=1,
            metrics={},
        )
    )
    session.add(
        FineTunedModel(
            name="ft:a",
            project_id=job.project_id,
            job_id=job.id,
            base_model="a",
            storage_prefix=put_checkpoint(store, job, attempt=2, step=9),
        )
    )
    session.commit()
    for _ in range(2):
        assert collector.collect() == 0
    assert len(list_keys(store)) == 3


def test_parts_are_kept_while_their_upload_is_open(
    session: Session, store: ObjectStore, collector: OrphanCollector
) -> None:
    body = CreateUpload(filename="a", purpose="vision", bytes=3, mime_type="image/png")
    project_id = make_project(session).id
    upload = uploads.create(session, project_id, body, max_bytes=3)
    uploads.add_part(session, project_id, upload.id, part_id="part_1", size=3, sha256="1")
    session.commit()
    store.put(upload_part_key(project_id, upload.id, "part_1"), b"abc")
    store.put(upload_part_key(project_id, upload.id, "part_2"), b"abc")
    for _ in range(2):
        collector.collect()
    assert list_keys(store) == [upload_part_key(project_id, upload.id, "part_1")]


def test_objects_of_a_running_attempt_are_kept(
    session: Session, store: ObjectStore, collector: OrphanCollector, job: Job
) -> None:
    ended = JobAttempt(job_id=job.id, attempt=1, trainer="w", ended_at=func.clock_timestamp())
    session.add_all([ended, JobAttempt(job_id=job.id, attempt=12, trainer="w")])
    session.commit()
    put_checkpoint(store, job, attempt=1, step=3)
    running = put_checkpoint(store, job, attempt=12, step=3)
    for _ in range(2):
        collector.collect()
    assert list_keys(store) == [join_key(running, "manifest.json")]


def test_deleted_rows_own_nothing(
    session: Session, store: ObjectStore, collector: OrphanCollector
) -> None:
    file = make_file(session, make_project(session), deleted_at=func.clock_timestamp())
    store.put(file.storage_key, b"")
    session.commit()
    for _ in range(2):
        collector.collect()
    assert list_keys(store) == []
