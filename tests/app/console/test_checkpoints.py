"""The matrix of checkpoints by held-out prompts in a browser."""

import json

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.db.tables import Job, Project
from app.storage import file_key
from tests.app.console.conftest import find_accessibility_violations
from tests.app.jobs.test_routes import make_model
from tests.app.operations.test_job_retention import make_checkpoint
from tests.factories import make_file, make_job
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

TUNED = "ft:base:acme:tickets:Abcd1234"
CHECKPOINT = f"{TUNED}:ckpt-step-4"
ROWS = [
    {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": "Hello" if number == 1 else "no"},
        ]
    }
    for number in range(7)
]


@pytest.fixture
def job(session: Session, account: Account, api: Api, engine: FakeEngine) -> Job:
    """A job with a checkpoint, and a validation file of 7 rows."""
    project = session.get_one(Project, account.principal.project_id)
    content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    file = make_file(session, project, bytes=len(content), filename="valid.jsonl")
    api.state.store.put(file_key(project.id, file.id), content)
    job = make_job(
        session,
        project,
        base_model="base",
        state="succeeded",
        validation_file_id=file.id,
        fine_tuned_model=TUNED,
    )
    make_model(session, job, TUNED)
    make_model(session, job, CHECKPOINT, step=4)
    make_checkpoint(session, job, step=4, is_deleted=False, model_name=CHECKPOINT)
    # The last checkpoint is the final model itself.
    make_checkpoint(session, job, step=8, is_deleted=False, model_name=TUNED)
    session.commit()
    return job


def ask(user: Page) -> None:
    user.get_by_role("button", name="Ask all").click()
    expect(user.get_by_role("status").first).to_have_text("Done.")


def test_each_checkpoint_answers_held_out_rows(user: Page, job: Job, engine: FakeEngine) -> None:
    user.goto(f"/console/jobs/{job.id}/checkpoints")
    expect(user.locator("thead .choose")).to_have_text(["Start", "Step 4", "Final"])
    expect(user.locator("tbody tr")).to_have_count(5)
    user.get_by_label("Prompt 1").fill("another question")
    ask(user)
    expect(user.locator(".answer-cell .text")).to_have_text(["Hello"] * 15)
    expect(user.locator(".answer-cell[data-right]")).to_have_count(3)
    asked = [body for body in engine.bodies if "messages" in body]
    assert {body["model"] for body in asked} == {"base", CHECKPOINT, TUNED}
    first = [body["messages"] for body in asked if body["messages"][1]["content"].startswith("a")]
    edited = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "another question"},
    ]
    # A model that is not loaded yet is asked twice.
    assert len(first) >= 3
    assert all(messages == edited for messages in first)


def test_other_rows_of_the_file_follow(user: Page, job: Job) -> None:
    user.goto(f"/console/jobs/{job.id}/checkpoints")
    user.get_by_role("link", name="Other rows").click()
    expect(user.locator("tbody tr")).to_have_count(2)
    expect(user.get_by_label("Prompt 1")).to_have_value("question 5")


def test_a_checkpoint_is_chosen_by_eye_and_the_url_keeps_it(user: Page, job: Job) -> None:
    user.goto(f"/console/jobs/{job.id}/checkpoints?source=typed")
    user.get_by_label("Prompt 1").fill("Hi")
    user.get_by_role("button", name="Add a prompt").click()
    ask(user)
    expect(user.locator(".answer-cell .text")).to_have_text(["Hello"] * 3)
    user.get_by_role("radio", name="Step 4").check()
    expect(user.locator("#choice-name")).to_have_text(CHECKPOINT)
    user.goto(user.url.replace("typed", "validation"))
    expect(user.get_by_role("radio", name="Step 4")).to_be_checked()
    user.get_by_role("link", name="Open in the playground").click()
    expect(user.get_by_label("Model", exact=True)).to_have_value(CHECKPOINT)


def test_the_chosen_checkpoint_gets_an_alias(user: Page, http: httpx.Client, job: Job) -> None:
    user.goto(f"/console/jobs/{job.id}/checkpoints?source=typed")
    user.get_by_role("radio", name="Step 4").check()
    user.get_by_label("Alias for it").fill("base")
    user.get_by_role("button", name="Use this one").click()
    expect(user.locator("#alias-error")).to_contain_text("A base model has the name 'base'")
    user.get_by_label("Alias for it").fill("prod")
    user.get_by_role("button", name="Use this one").click()
    step = user.locator(f'th[data-model="{CHECKPOINT}"]')
    final = user.locator(f'th[data-model="{TUNED}"]')
    expect(step.locator(".tag")).to_have_text("prod")
    expect(user.locator("#alias-error")).to_be_hidden()
    assert http.get("/v1/aliases/prod").json()["model"] == CHECKPOINT
    user.get_by_role("radio", name="Final").check()
    user.get_by_role("button", name="Use this one").click()
    expect(final.locator(".tag")).to_have_text("prod")
    expect(step.locator(".tag")).to_have_count(0)
    user.reload()
    expect(final.locator(".tag")).to_have_text("prod")
    assert http.get("/v1/aliases/prod").json()["model"] == TUNED
    assert find_accessibility_violations(user) == []


def test_an_error_stays_in_its_cell(user: Page, job: Job) -> None:
    user.goto(f"/console/jobs/{job.id}/checkpoints?source=typed")
    user.get_by_label("Prompt 1").fill("too long")
    ask(user)
    expect(user.locator(".answer-cell .problem")).to_have_count(3)


def test_a_job_without_checkpoints_says_so(user: Page, session: Session, account: Account) -> None:
    project = session.get_one(Project, account.principal.project_id)
    job = make_job(session, project, base_model="base", state="running")
    session.commit()
    user.goto(f"/console/jobs/{job.id}/checkpoints")
    expect(user.get_by_role("heading", name="No checkpoint yet")).to_be_visible()


def test_the_matrix_is_accessible(user: Page, job: Job) -> None:
    user.goto(f"/console/jobs/{job.id}/checkpoints")
    ask(user)
    user.get_by_role("radio", name="Final").check()
    assert find_accessibility_violations(user) == []
