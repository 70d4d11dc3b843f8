"""Checkpoints: recording, model names, retention and promotion."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.session import SessionMaker
from app.db.tables import Checkpoint, FineTunedModel, Job, JobEvent, ModelAlias, Outbox
from app.jobs import checkpoints, leases
from app.models import deletion as tuned_models
from tests.app.models.test_routes import count_lock_waits
from tests.factories import make_job
from tests.polling import wait_until


def make_running_job(session: Session, **changes: Any) -> Job:
    job = make_job(session, total_steps=10, **changes)
    leases.acquire(session, "w", lease_seconds=60)
    return job


def record(
    session: Session, job: Job, step: int, *, servable: bool = True, prefix: str = ""
) -> None:
    stored = checkpoints.StoredCheckpoint(
        step=step,
        servable=servable,
        prefix=prefix or f"p/attempt-{job.attempt}/step-{step}",
        manifest_sha256="m",
        bytes=7,
        metrics={"train_loss": 0.5, "valid_loss": float("nan")},
    )
    checkpoints.record(session, job.id, job.attempt, stored)


def list_kept_checkpoints(session: Session, job: Job) -> list[tuple[int, str]]:
    rows = session.execute(
        select(Checkpoint.step, Checkpoint.kind)
        .where(Checkpoint.job_id == job.id, Checkpoint.deleted_at.is_(None))
        .order_by(Checkpoint.step)
    )
    return [(row.step, row.kind) for row in rows]


def list_deleted_prefixes(session: Session) -> list[str]:
    rows = select(Outbox.payload).where(Outbox.kind == "delete_blobs").order_by(Outbox.id)
    return [payload["prefix"] for payload in session.scalars(rows)]


def get_models(session: Session) -> dict[str, FineTunedModel]:
    rows = select(FineTunedModel).where(FineTunedModel.deleted_at.is_(None))
    return {row.name: row for row in session.scalars(rows)}


def test_the_checkpoint_of_an_epoch_is_a_model_at_once(session: Session) -> None:
    job = make_running_job(session, suffix="my-suffix")
    record(session, job, 4)
    row = session.scalars(select(Checkpoint)).one()
    assert row.model_name is not None
    assert re.fullmatch(
        r"ft:smollm2-135m-instruct:acme:my-suffix:[A-Za-z0-9]{8}:ckpt-step-4", row.model_name
    )
    model = get_models(session)[row.model_name]
    assert (model.project_id, model.step, model.storage_prefix) == (
        job.project_id,
        4,
        "p/attempt-1/step-4",
    )
    message = f"Checkpoint created at step 4 with Snapshot ID: {row.model_name}"
    assert message in set(session.scalars(select(JobEvent.message)))


def test_drops_nonfinite_metrics(session: Session) -> None:
    job = make_running_job(session)
    record(session, job, 4)
    assert session.scalars(select(Checkpoint.metrics)).one() == {"step": 4, "train_loss": 0.5}


def test_any_other_checkpoint_is_for_resuming_only(session: Session) -> None:
    job = make_running_job(session)
    record(session, job, 3, servable=False)
    assert list_kept_checkpoints(session, job) == [(3, "resume")]
    assert get_models(session) == {}


def test_keeps_the_last_three_epochs(session: Session) -> None:
    job = make_running_job(session)
    for step in (2, 4, 6, 8):
        record(session, job, step)
    assert [step for step, _ in list_kept_checkpoints(session, job)] == [4, 6, 8]
    assert sorted(model.step or 0 for model in get_models(session).values()) == [4, 6, 8]
    assert list_deleted_prefixes(session) == ["p/attempt-1/step-2/"]


def test_keeps_two_checkpoints_to_resume_from(session: Session) -> None:
    job = make_running_job(session)
    for step in (1, 2, 3):
        record(session, job, step, servable=False)
    assert list_kept_checkpoints(session, job) == [(2, "resume"), (3, "resume")]
    record(session, job, 4)
    assert list_kept_checkpoints(session, job) == [(3, "resume"), (4, "user")]
    assert [row.step for row in checkpoints.list_resumable(session, job.id)] == [4, 3]


def test_a_repeated_step_keeps_its_name_and_gets_the_new_files(session: Session) -> None:
    job = make_running_job(session)
    record(session, job, 4)
    (name,) = get_models(session)
    job.attempt = 2
    record(session, job, 4)
    session.expire_all()
    assert get_models(session)[name].storage_prefix == "p/attempt-2/step-4"
    assert list_deleted_prefixes(session) == ["p/attempt-1/step-4/"]
    events = select(JobEvent).where(JobEvent.dedupe_key == "checkpoint:4")
    assert len(session.scalars(events).all()) == 1


def delete_model(session: Session, job: Job, name: str) -> None:
    tuned_models.delete(session, Catalog([]), job.project_id, name)


def test_a_model_that_its_owner_deleted_is_not_recreated(session: Session) -> None:
    job = make_running_job(session)
    record(session, job, 4)
    (name,) = get_models(session)
    delete_model(session, job, name)
    for job.attempt in (2, 3):
        record(session, job, 4)
        session.expire_all()
        assert get_models(session) == {}
        assert list_kept_checkpoints(session, job) == [(4, "resume")]
    assert list_deleted_prefixes(session) == ["p/attempt-1/step-4/", "p/attempt-2/step-4/"]


class TestAliases:
    def test_a_checkpoint_with_an_alias_is_kept(self, session: Session) -> None:
        job = make_running_job(session)
        record(session, job, 2)
        (oldest,) = get_models(session)
        add_alias(session, job, oldest)
        for step in (4, 6, 8, 9):
            record(session, job, step)
        kept = [(2, "user"), (6, "user"), (8, "user"), (9, "user")]
        assert list_kept_checkpoints(session, job) == kept

    def test_retention_waits_for_a_new_alias(
        self, session: Session, sessions: SessionMaker
    ) -> None:
        """The transaction that creates the alias holds a share lock on the model until it ends."""
        job = make_running_job(session)
        for step in (2, 4, 6):
            record(session, job, step)
        session.commit()
        oldest = min(get_models(session).values(), key=lambda model: model.step or 0).name
        with ThreadPoolExecutor(1) as pool, sessions() as other:
            locked = select(FineTunedModel).where(FineTunedModel.name == oldest)
            other.execute(locked.with_for_update(read=True))
            other.add(ModelAlias(project_id=job.project_id, name="prod", model_name=oldest))
            recorded = pool.submit(record, session, job, 8)
            wait_until("retention waits", lambda: count_lock_waits(other) > 0)
            other.commit()
            recorded.result(60)
        assert (2, "user") in list_kept_checkpoints(session, job)

    def test_an_alias_follows_a_checkpoint_that_becomes_the_model(self, session: Session) -> None:
        job = make_running_job(session)
        record(session, job, 6)
        alias = add_alias(session, job, *get_models(session))
        job.total_steps = 6
        name = checkpoints.promote(session, job)
        session.refresh(alias)
        assert alias.model_name == name


def add_alias(session: Session, job: Job, model: str) -> ModelAlias:
    alias = ModelAlias(project_id=job.project_id, name="prod", model_name=model)
    session.add(alias)
    session.flush()
    return alias


class TestPromote:
    def test_the_last_step_becomes_the_model_without_a_step_in_its_name(
        self, session: Session
    ) -> None:
        job = make_running_job(session)
        for step in (5, 10):
            record(session, job, step)
        assert list_kept_checkpoints(session, job) == [(5, "user"), (10, "resume")]
        name = checkpoints.promote(session, job)
        session.expire_all()
        assert name is not None
        assert re.fullmatch(r"ft:smollm2-135m-instruct:acme::[A-Za-z0-9]{8}", name)
        assert list_kept_checkpoints(session, job) == [(5, "user"), (10, "user")]
        assert get_models(session)[name].step is None

    def test_the_model_counts_towards_retention(self, session: Session) -> None:
        job = make_running_job(session)
        for step in (2, 4, 6, 10):
            record(session, job, step)
        checkpoints.promote(session, job)
        assert list_kept_checkpoints(session, job) == [(4, "user"), (6, "user"), (10, "user")]

    def test_deletes_the_resume_checkpoints(self, session: Session) -> None:
        job = make_running_job(session)
        record(session, job, 9, servable=False)
        record(session, job, 10)
        checkpoints.promote(session, job)
        assert list_kept_checkpoints(session, job) == [(10, "user")]
        assert list_deleted_prefixes(session) == ["p/attempt-1/step-9/"]

    def test_returns_none_without_the_last_step(self, session: Session) -> None:
        job = make_running_job(session)
        record(session, job, 9)
        assert checkpoints.promote(session, job) is None

    def test_after_early_stopping_the_last_step_has_one_name(self, session: Session) -> None:
        job = make_running_job(session)
        record(session, job, 6)
        job.total_steps = 6
        name = checkpoints.promote(session, job)
        session.expire_all()
        assert list(get_models(session)) == [name]
        assert list_deleted_prefixes(session) == []

    def test_a_deleted_model_of_the_last_step_is_replaced_by_a_new_one(
        self, session: Session
    ) -> None:
        job = make_running_job(session)
        record(session, job, 6)
        (old,) = get_models(session)
        delete_model(session, job, old)
        job.attempt = 2
        record(session, job, 6)
        job.total_steps = 6
        name = checkpoints.promote(session, job)
        session.expire_all()
        assert list(get_models(session)) == [name]
        assert list_kept_checkpoints(session, job) == [(6, "user")]
