"""The page of a job: curves that move with it, its numbers, lineage, checkpoints and events."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy.orm import Session

from app import ids
from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import (
    AttemptEnd,
    AttemptOutcome,
    Checkpoint,
    CheckpointKind,
    Job,
    JobAttempt,
    JobMetric,
    JobState,
    Project,
)
from app.jobs import events, progress
from app.jobs.events import NewEvent
from app.jobs.progress import StepMetrics
from tests.app.console.conftest import find_accessibility_violations
from tests.factories import make_file, make_job
from tests.faults.measurements import Measurements
from tests.live_api import Account

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(1)</script>"


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


def add_metrics(session: Session, job: Job, steps: Sequence[int], **names: float) -> None:
    rows = [
        JobMetric(
            job_id=job.id,
            step=step,
            attempt=1,
            values={name: start / step for name, start in names.items()},
        )
        for step in steps
    ]
    session.add_all(rows)


def make_finished_job(session: Session, project: Project, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "state": "succeeded",
        "suffix": "front desk",
        "total_steps": 40,
        "trained_tokens": 12345,
        "trained_seconds": 65.0,
        "fine_tuned_model": "ft:smollm2-135m-instruct:acme:front-desk:abc",
        "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate": "auto"},
        "resolved_hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate": 0.0002},
        "finished_at": clock.seconds_from_now(0),
    }
    job = make_job(session, project, **values | changes)
    add_metrics(session, job, range(1, 41), train_loss=3.0, train_mean_token_accuracy=0.9)
    add_metrics(session, job, (50, 60), valid_loss=2.0)
    return job


def figure(page: Page, title: str) -> Locator:
    return page.locator("figure.chart").filter(has_text=title).first


def report_step(sessions: SessionMaker, job_id: str, step: int, loss: float) -> None:
    """Report a step as a trainer's supervisor does."""
    with transaction(sessions) as session:
        metrics = StepMetrics(step, {"train_loss": loss}, tokens_per_second=321.0)
        progress.record_metrics(session, job_id, 1, [metrics], seconds_left=90.0)


class TestCurves:
    def test_are_drawn_with_values_that_the_keyboard_reaches(
        self, user: Page, session: Session, project: Project
    ) -> None:
        job = make_finished_job(session, project)
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        loss = figure(user, "Loss")
        expect(loss.locator("canvas")).to_be_visible()
        expect(loss.get_by_role("listitem").filter(has_text="Training")).to_contain_text("0.07500")
        plot = loss.get_by_role("img")
        plot.focus()
        plot.press("ArrowRight")
        plot.press("ArrowRight")
        expect(loss).to_contain_text("Step 2")
        expect(loss.get_by_role("listitem").filter(has_text="Training")).to_contain_text("1.500")

    def test_have_a_table_and_downloads(
        self, user: Page, session: Session, project: Project, tmp_path: Path
    ) -> None:
        job = make_finished_job(session, project)
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        user.get_by_role("button", name="Loss as a table").click()
        rows = user.get_by_role("region", name="Loss as a table").locator("tbody tr")
        expect(rows).to_have_count(42)
        with user.expect_download() as csv:
            user.get_by_role("button", name="Loss as CSV").click()
        lines = csv.value.path().read_text().splitlines()
        assert lines[0] == 'step,"train_loss Training","valid_loss Validation, one batch"'
        assert lines[2].startswith("2,1.5")
        assert len(lines) == 43
        with user.expect_download() as png:
            user.get_by_role("button", name="Loss as an image").click()
        assert png.value.path().read_bytes().startswith(b"\x89PNG")

    def test_smoothing_and_log_scale_keep_the_raw_values(
        self, user: Page, session: Session, project: Project
    ) -> None:
        job = make_finished_job(session, project)
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        user.get_by_label("Log scale").check()
        user.get_by_label("Smoothing").fill("0.9")
        plot = figure(user, "Loss").get_by_role("img")
        plot.press("ArrowRight")
        plot.press("ArrowRight")
        item = figure(user, "Loss").get_by_role("listitem").filter(has_text="Training")
        # (0.9 * 3 + 1.5) / 1.9, corrected for the start of the average.
        expect(item).to_contain_text("1.500 (smooth 2.211)")
        user.get_by_label("Switch between light and dark").click()
        expect(figure(user, "Loss").locator("canvas")).to_be_visible()

    def test_move_as_steps_are_reported(
        self,
        user: Page,
        session: Session,
        sessions: SessionMaker,
        project: Project,
        measurements: Measurements,
    ) -> None:
        job = make_job(session, project, state="running", attempt=1, total_steps=50)
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        expect(user.get_by_text("Curves appear with the first step")).to_be_visible()
        delays: list[float] = []
        for step in range(1, 5):
            report_step(sessions, job.id, step, loss=4.1 / step)
            reported_at = time.monotonic()
            item = figure(user, "Loss").get_by_role("listitem").filter(has_text="Training")
            expect(item).to_contain_text(f"{4.1 / step:#.4g}")
            delays.append(time.monotonic() - reported_at)
        measurements.add("console: step's event to its curve", *delays, at_most=1.0)
        expect(user.locator("#job-head")).to_contain_text("4 of 50")
        expect(user.locator("#job-head")).to_contain_text("321")
        expect(user.locator("#job-events")).to_contain_text("Step 4/50: training loss=1.02")

    def test_are_marked_where_the_job_was_interrupted(
        self, user: Page, session: Session, project: Project
    ) -> None:
        job = make_finished_job(session, project)
        ends: list[dict[str, Any]] = [
            {
                "outcome": AttemptOutcome.CRASHED,
                "exit_code": -9,
                "resumed_step": 0,
                "reached_step": 20,
                "message": "The process was killed.",
                "log_tail": f"step 20 {HOSTILE}",
            },
            {
                "outcome": AttemptOutcome.YIELDED,
                "end_reason": AttemptEnd.PAUSED,
                "resumed_step": 10,
                "reached_step": 30,
            },
            {"outcome": AttemptOutcome.DONE, "resumed_step": 30, "reached_step": 40},
        ]
        for number, values in enumerate(ends, 1):
            ended_at = clock.seconds_from_now(number)
            session.add(
                JobAttempt(job_id=job.id, attempt=number, trainer="t", ended_at=ended_at, **values)
            )
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        marks = ["Step 20: Killed, went on from step 10", "Step 30: Paused, went on from step 30"]
        expect(user.locator(".chart-marks li")).to_have_text(marks)
        killed = user.locator(".attempt").last
        expect(killed).to_contain_text("Killed · steps 0 to 20")
        killed.locator("summary").click()
        expect(killed.locator("pre")).to_contain_text(HOSTILE)
        expect(killed).to_contain_text("The process was killed. (exit code -9)")

    def test_a_gap_or_another_attempt_reads_all_points_anew(
        self, user: Page, session: Session, sessions: SessionMaker, project: Project
    ) -> None:
        job = make_job(session, project, state="running", attempt=1, total_steps=5000)
        add_metrics(session, job, [1, 2], train_loss=2.0)
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        user.get_by_role("button", name="Loss as a table").click()
        add_metrics(session, job, range(3, 1001), train_loss=2.0)
        session.commit()
        expect(user.get_by_text("The newest 500 of 1000 rows")).to_be_visible()
        with transaction(sessions) as other:
            other.get_one(Job, job.id).attempt = 2
            row = other.get_one(JobMetric, (job.id, 1))
            row.values = {"train_loss": 7.5}
        expect(user.get_by_role("img", name="7.500 at step 1,")).to_be_visible()


class TestParts:
    def test_numbers_lineage_checkpoints_and_events(
        self, user: Page, session: Session, project: Project
    ) -> None:
        file = make_file(session, project, filename=f"a{HOSTILE}.jsonl", bytes=2048)
        job = make_finished_job(session, project, training_file_id=file.id)
        child = make_job(session, project, start_model=job.fine_tuned_model, suffix="second round")
        events.append(session, job, [NewEvent("x", f"Odd label {HOSTILE}")])
        session.add(
            Checkpoint(
                id=ids.checkpoint_id(),
                job_id=job.id,
                attempt=1,
                step=20,
                kind=CheckpointKind.USER,
                storage_prefix="x",
                manifest_sha256="x",
                bytes=1,
                model_name="ft:smollm2:acme::c:ckpt-step-20",
                metrics={"step": 20, "train_loss": 0.5},
            )
        )
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        numbers = user.locator("#job-numbers tr")
        expect(numbers.filter(has_text="n_epochs")).to_contain_text("You")
        expect(numbers.filter(has_text="batch_size")).to_contain_text("auto")
        rate = user.get_by_role("cell", name="learning_rate", exact=True)
        expect(numbers.filter(has=rate)).to_contain_text("0.0002")
        lineage = user.locator(".lineage")
        expect(lineage).to_contain_text(HOSTILE)
        expect(lineage).to_contain_text(file.sha256)
        expect(lineage.get_by_role("link", name="second round")).to_have_attribute(
            "href", f"/console/jobs/{child.id}"
        )
        checkpoint = user.locator("#job-checkpoints tr").filter(has_text="ckpt-step-20")
        expect(checkpoint.get_by_role("link", name="Try")).to_be_visible()
        expect(user.locator("#job-events")).to_contain_text(HOSTILE)
        user.goto(f"/console/jobs/{child.id}")
        expect(user.locator(".lineage")).to_contain_text("made by front desk")

    def test_a_wait_a_failure_and_the_buttons(
        self, user: Page, session: Session, project: Project
    ) -> None:
        job = make_job(session, project, state="queued")
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        expect(user.locator("#job-head")).to_contain_text("No trainer takes jobs at present.")
        user.get_by_role("button", name="Pause", exact=True).click()
        user.get_by_role("dialog").get_by_role("button", name="Pause 1 job").click()
        expect(user.get_by_role("button", name="Resume", exact=True)).to_be_visible()
        user.get_by_role("button", name="Cancel", exact=True).click()
        user.get_by_role("dialog").get_by_role("button", name="Cancel 1 job").click()
        expect(user.locator("#job-head")).to_contain_text("Cancelled")
        expect(user.get_by_role("button", name="Resume", exact=True)).to_have_count(0)
        failed = make_job(session, project, state="failed", error_code="x", error_message=HOSTILE)
        session.commit()
        user.goto(f"/console/jobs/{failed.id}")
        expect(user.get_by_role("alert")).to_contain_text(HOSTILE)
        expect(user.get_by_text("This job reported no numbers.")).to_be_visible()

    def test_the_end_shows_model_and_test_metrics_without_a_reload(
        self, user: Page, session: Session, sessions: SessionMaker, project: Project
    ) -> None:
        job = make_job(session, project, state="running", attempt=1, total_steps=50)
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        expect(user.get_by_role("button", name="Pause updates")).to_be_visible()
        with transaction(sessions) as other:
            ended = other.get_one(Job, job.id)
            ended.state = JobState.SUCCEEDED
            ended.fine_tuned_model = "ft:base:luthier::end"
            ended.finished_at = clock.seconds_from_now(0)
            ended.test_results = {"base": {"accuracy": 0.25}, "tuned": {"accuracy": 0.875}}
        lineage = user.locator("#job-lineage")
        expect(lineage.get_by_role("link", name="ft:base:luthier::end")).to_be_visible()
        row = user.get_by_role("row", name="Accuracy")
        expect(row.get_by_role("cell")).to_have_text(["Accuracy", "0.25", "0.875"])
        expect(user.get_by_role("button", name="Pause updates")).to_be_hidden()

    def test_older_events_are_on_pages(
        self, user: Page, session: Session, project: Project
    ) -> None:
        job = make_job(session, project, state="cancelled")
        events.append(session, job, [NewEvent(f"{n}", f"Note {n}.") for n in range(60)])
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        expect(user.locator(".events li")).to_have_count(50)
        user.get_by_role("link", name="Older events").click()
        expect(user.locator(".events li")).to_have_count(10)
        expect(user.locator(".events")).to_contain_text("Note 0.")

    def test_a_job_of_another_project_is_not_found(self, user: Page, session: Session) -> None:
        other = make_job(session)
        session.commit()
        for path in ("", "/curves", "/live"):
            response = user.goto(f"/console/jobs/{other.id}{path}")
            assert response is not None
            assert response.status == 404

    def test_is_accessible(self, user: Page, session: Session, project: Project) -> None:
        job = make_finished_job(session, project)
        events.append(session, job, [NewEvent("x", "A warning.")])
        session.commit()
        user.goto(f"/console/jobs/{job.id}")
        expect(figure(user, "Loss").locator("canvas")).to_be_visible()
        user.get_by_role("button", name="Loss as a table").click()
        assert find_accessibility_violations(user) == []


class TestCompare:
    def test_overlays_jobs_and_shows_what_differs_and_is_best(
        self, user: Page, session: Session, project: Project
    ) -> None:
        file = make_file(session, project)
        same = {"training_file_id": file.id, "seed": 7}
        first = make_finished_job(session, project, suffix="base line", **same)
        second = make_finished_job(
            session,
            project,
            suffix="more epochs",
            fine_tuned_model=None,
            hyperparameters={"n_epochs": 5},
            resolved_hyperparameters={"n_epochs": 5},
            **same,
        )
        add_metrics(session, second, range(100, 121), train_loss=2.0)
        session.commit()
        user.goto("/console/jobs")
        for job in (first, second):
            user.locator(f"#select-{job.id}").check()
        user.get_by_role("button", name="Compare").click()
        user.wait_for_url("**/compare?job=**")
        chart = figure(user, "Loss · Training")
        expect(chart.get_by_role("listitem")).to_have_count(2)
        metrics = user.locator("section", has=user.get_by_role("heading", name="Metrics"))
        row = metrics.get_by_role("row").filter(has_text="Loss · Training")
        expect(row.locator(".best")).to_have_text(re.compile(r"0\.0166\d* best"))
        numbers = user.locator(
            "section", has=user.get_by_role("heading", name="Hyperparameters and data")
        )
        expect(numbers.get_by_role("row").filter(has_text="n_epochs").first).to_be_visible()
        assert numbers.get_by_text("seed").is_hidden()
        assert find_accessibility_violations(user) == []

    def test_chooses_at_most_six(self, user: Page, session: Session, project: Project) -> None:
        jobs = [make_job(session, project, suffix=f"run {n}") for n in range(7)]
        session.commit()
        user.goto("/console/compare")
        for job in jobs[:6]:
            user.locator(f"#choose-{job.id}").check()
        expect(user.locator(f"#choose-{jobs[6].id}")).to_be_disabled()
        user.get_by_role("button", name="Compare", exact=True).click()
        expect(user.locator(".job-column").first).to_be_visible()
        query = "&".join(f"job={job.id}" for job in jobs)
        user.goto(f"/console/compare?{query}&job=ftjob-missing")
        expect(user.get_by_role("alert")).to_contain_text("Only the first 6 of 8 jobs")
        user.goto("/console/compare?job=ftjob-missing")
        expect(user.get_by_role("alert")).to_contain_text("ftjob-missing")
