"""Objects without an owner go, and no others."""

import pytest
from sqlalchemy import func
from sqlalchemy.orm import Session

from app.db.session import SessionMaker
from app.db.tables import Checkpoint, FineTunedModel, Job, JobAttempt
from app.files import uploads
from app.files.upload_schemas import CreateUpload
from app.operations.orphaned_objects import OrphanCollector
from app.storage import ObjectStore, checkpoint_prefix, file_key, join_key, upload_part_key
from tests.factories import make_file, make_job, make_project


@pytest.fixture
def job(session: Session) -> Job:
    return make_job(session, state="succeeded", epoch=2)


@pytest.fixture
def orphans(sessions: SessionMaker, store: ObjectStore) -> OrphanCollector:
    return OrphanCollector(sessions, store)


def folder(store: ObjectStore, job: Job, *, epoch: int, step: int) -> str:
    """A checkpoint's folder in the store, with an object in it."""
    prefix = checkpoint_prefix(job.project_id, job.id, epoch, step)
    store.put(join_key(prefix, "manifest.json"), b"{}")
    return prefix


def kept(store: ObjectStore) -> list[str]:
    return list(store.list(""))


def test_what_nobody_owns_goes_with_the_second_round(
    session: Session, store: ObjectStore, orphans: OrphanCollector, job: Job
) -> None:
    session.commit()
    folder(store, job, epoch=1, step=3)
    store.put(file_key(job.project_id, "file-never"), b"")
    assert orphans.collect() == 0
    assert len(kept(store)) == 2
    assert orphans.collect() == 2
    assert kept(store) == []


def test_what_another_database_may_own_stays(store: ObjectStore, orphans: OrphanCollector) -> None:
    """Two Luthiers in one bucket, or one that was started afresh on it."""
    theirs = file_key("proj_of_another_database", "file-theirs")
    store.put(theirs, b"")
    for _ in range(2):
        assert orphans.collect() == 0
    assert kept(store) == [theirs]


def test_what_gets_an_owner_between_two_rounds_stays(
    session: Session, store: ObjectStore, orphans: OrphanCollector
) -> None:
    project = make_project(session)
    file = make_file(session, project)
    store.put(file.storage_key, b"")
    orphans.collect()
    session.commit()
    assert orphans.collect() == 0
    assert kept(store) == [file.storage_key]


def test_files_checkpoints_and_models_stay(
    session: Session, store: ObjectStore, orphans: OrphanCollector, job: Job
) -> None:
    file = make_file(session, make_project(session))
    store.put(file.storage_key, b"")
    session.add(
        Checkpoint(
            id="ftckpt_1",
            job_id=job.id,
            epoch=2,
            step=3,
            kind="user",
            storage_prefix=folder(store, job, epoch=2, step=3),
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
            storage_prefix=folder(store, job, epoch=2, step=9),
        )
    )
    session.commit()
    for _ in range(2):
        assert orphans.collect() == 0
    assert len(kept(store)) == 3


def test_parts_of_an_upload_stay_until_it_has_ended(
    session: Session, store: ObjectStore, orphans: OrphanCollector
) -> None:
    asked = CreateUpload(filename="a", purpose="vision", bytes=3, mime_type="image/png")
    project_id = make_project(session).id
    upload = uploads.create(session, project_id, asked, max_bytes=3)
    uploads.add_part(session, project_id, upload.id, part_id="part_1", size=3, sha256="1")
    session.commit()
    store.put(upload_part_key(project_id, upload.id, "part_1"), b"abc")
    store.put(upload_part_key(project_id, upload.id, "part_2"), b"abc")
    for _ in range(2):
        orphans.collect()
    assert kept(store) == [upload_part_key(project_id, upload.id, "part_1")]


def test_an_attempt_that_works_keeps_what_it_has_stored_so_far(
    session: Session, store: ObjectStore, orphans: OrphanCollector, job: Job
) -> None:
    ended = JobAttempt(job_id=job.id, epoch=1, worker="w", ended_at=func.clock_timestamp())
    session.add_all([ended, JobAttempt(job_id=job.id, epoch=12, worker="w")])
    session.commit()
    folder(store, job, epoch=1, step=3)
    working = folder(store, job, epoch=12, step=3)
    for _ in range(2):
        orphans.collect()
    assert kept(store) == [join_key(working, "manifest.json")]


def test_tombstones_own_nothing(
    session: Session, store: ObjectStore, orphans: OrphanCollector
) -> None:
    file = make_file(session, make_project(session), deleted_at=func.clock_timestamp())
    store.put(file.storage_key, b"")
    session.commit()
    for _ in range(2):
        orphans.collect()
    assert kept(store) == []
