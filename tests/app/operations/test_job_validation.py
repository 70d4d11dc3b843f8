"""Validation of new jobs: errors of one job, and the time that files may take."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from app.catalog import Catalog
from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import Job, JobState
from app.inference import rendering_check
from app.inference.rendering_check import RenderingCheck, RowsToCheck
from app.operations import job_validation
from app.operations.job_validation import JobValidator
from app.settings import Settings
from app.storage import ObjectStore
from tests.factories import make_file, make_job, make_project


class CheckWithoutEngine(RenderingCheck):
    """Checks no rows, but could; notes the time for which the job is claimed at each file."""

    def __init__(self, sessions: SessionMaker, home: Path) -> None:
        super().__init__(Settings(home=home))
        self.sessions = sessions
        self.claimed_seconds: list[float] = []

    def find_problem(self, file: RowsToCheck) -> str | None:
        with transaction(self.sessions) as session:
            job = session.query(Job).one()
            left = job.run_after - clock.now(session)
            self.claimed_seconds.append(left.total_seconds())
            # The file takes as long as it is claimed for.
            session.execute(update(Job).values(run_after=clock.now(session) - timedelta(seconds=1)))
        return None


@pytest.fixture
def check(sessions: SessionMaker, tmp_path: Path) -> Iterator[CheckWithoutEngine]:
    check = CheckWithoutEngine(sessions, tmp_path)
    yield check
    check.close()


@pytest.fixture
def validator(
    sessions: SessionMaker, store: ObjectStore, catalog: Catalog, check: CheckWithoutEngine
) -> JobValidator:
    return JobValidator(sessions, store, catalog, check)


def test_a_job_whose_validation_fails_does_not_keep_its_projects_others_waiting(
    sessions: SessionMaker, validator: JobValidator
) -> None:
    with transaction(sessions) as session:
        project = make_project(session)
        fields = {"state": JobState.VALIDATING_FILES, "method": "classification"}
        # A summary that no upload can produce.
        unreadable = make_file(session, project, format="classification", summary={"labels": 5})
        broken = make_job(session, project, training_file_id=unreadable.id, **fields).id
        others = [make_job(session, project, state=JobState.VALIDATING_FILES).id for _ in range(2)]
        session.execute(update(Job).where(Job.id.in_(others)).values(base_model="unknown"))
    validator.validate_next()
    with transaction(sessions) as session:
        assert [session.get_one(Job, id).state for id in others] == ["queued", "queued"]
        job = session.get_one(Job, broken)
        assert (job.state, job.no_progress_attempts) == ("validating_files", 1)
        assert job.run_after > clock.now(session)


def test_each_file_has_its_own_time(
    sessions: SessionMaker, store: ObjectStore, validator: JobValidator, check: CheckWithoutEngine
) -> None:
    with transaction(sessions) as session:
        project = make_project(session)
        files = [make_file(session, project, sha256=digit * 64) for digit in "ab"]
        for file in files:
            store.put(file.storage_key, b"{}\n")
        make_job(
            session,
            project,
            state=JobState.VALIDATING_FILES,
            training_file_id=files[0].id,
            validation_file_id=files[1].id,
        )
    validator.validate_next()
    assert len(check.claimed_seconds) == 2
    assert min(check.claimed_seconds) > job_validation.CLAIM_SECONDS - 15


def test_a_file_that_cannot_be_read_in_time_is_left_to_training(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose first line does not end."""
    monkeypatch.setattr(rendering_check, "TOTAL_TIMEOUT_SECONDS", -1.0)
    read: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(9):
            read.append(number)
            yield b"{"

    check = RenderingCheck(Settings(home=tmp_path))
    base = catalog.get("smollm2-135m-instruct")
    assert base is not None
    assert check.find_problem(RowsToCheck("proj", base, None, chunks())) is None
    assert read == [0]
    check.close()
