"""Limits of one job: tokens, estimated at creation, and the end of a job at its time limit."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import FineTunedModel, Job
from app.errors import InvalidRequest
from app.jobs import attempt_outcomes, checkpoints, leases, limits
from app.jobs.checkpoints import StoredCheckpoint
from tests.factories import make_file, make_job, make_project

MODEL = "smollm2-135m-instruct"


class TestA58TokenLimit:
    @pytest.mark.parametrize(
        ("hyperparameters", "tokens"),
        [({"n_epochs": 50}, 5000), ({"n_epochs": "auto"}, 100), ({}, 100)],
    )
    def test_tokens_are_estimated_from_bytes_and_epochs(
        self, session: Session, catalog: Catalog, hyperparameters: dict[str, Any], tokens: int
    ) -> None:
        file = make_file(session, make_project(session), bytes=600, examples=12)
        base = catalog.get(MODEL)
        assert base is not None
        assert limits.estimate_tokens(base, file, hyperparameters) == tokens

    def test_text_beyond_the_models_context_does_not_count(
        self, session: Session, catalog: Catalog
    ) -> None:
        file = make_file(session, make_project(session), bytes=2**30, examples=1)
        base = catalog.get(MODEL)
        assert base is not None
        assert limits.estimate_tokens(base, file, {}) == base.context_length

    def test_0_is_unlimited(self, session: Session, catalog: Catalog) -> None:
        file = make_file(session, make_project(session), bytes=2**40, examples=10**6)
        base = catalog.get(MODEL)
        assert base is not None
        limits.check_token_limit(base, file, {"n_epochs": 50}, max_tokens=0)
        with pytest.raises(InvalidRequest, match="allows 1000 tokens per job") as raised:
            limits.check_token_limit(base, file, {"n_epochs": 50}, max_tokens=1000)
        assert (raised.value.error_param, raised.value.error_code) == (
            "training_file",
            "token_limit_exceeded",
        )


def stored_checkpoint(job_id: str, step: int) -> StoredCheckpoint:
    return StoredCheckpoint(
        step=step,
        servable=False,
        prefix=f"jobs/{job_id}/step-{step}",
        manifest_sha256="",
        bytes=1,
        metrics={},
    )


class TestA58TimeLimit:
    def test_the_last_checkpoint_becomes_a_model(self, session: Session) -> None:
        make_job(session, total_steps=100)
        assignment = leases.acquire(session, "trainer", lease_seconds=60)
        assert assignment is not None
        job_id, attempt = assignment.job_id, assignment.attempt
        for step in (10, 20):
            checkpoints.record(session, job_id, attempt, stored_checkpoint(job_id, step))
        attempt_outcomes.end_at_time_limit(session, job_id, attempt, hours=168)
        job = session.get_one(Job, job_id, populate_existing=True)
        (model,) = session.scalars(select(FineTunedModel))
        assert (job.state, job.error_code) == ("failed", "time_limit_exceeded")
        assert model.step == 20
        assert model.deleted_at is None
        assert job.error_message == (
            "The job reached this service's limit of 168 hour(s) of training per job. Its "
            f"checkpoint at step 20 of 100 is the model {model.name}. Create a job with that "
            "model to train it further."
        )
        assert [row.step for row in checkpoints.list_resumable(session, job_id)] == [20]

    def test_a_job_without_a_checkpoint_fails(self, session: Session) -> None:
        make_job(session)
        assignment = leases.acquire(session, "trainer", lease_seconds=60)
        assert assignment is not None
        attempt_outcomes.end_at_time_limit(
            session, assignment.job_id, assignment.attempt, hours=0.5
        )
        job = session.get_one(Job, assignment.job_id, populate_existing=True)
        assert "0.5 hour(s)" in (job.error_message or "")
        assert "no checkpoint yet" in (job.error_message or "")
