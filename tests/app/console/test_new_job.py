"""A new job in four steps, by mouse, with errors beside the fields they are about."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from app.console import number_fields
from app.console.model_list import METHODS_BY_FORMAT
from app.jobs import hyperparameters
from app.jobs.file_checks import FORMATS_BY_METHOD
from tests.app.console.conftest import find_accessibility_violations
from tests.app.console.test_files import BROKEN, GOOD, PREFERENCE, lines, upload
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

LABELS = lines([{"text": f"film {n}", "label": f"l{n % 2}"} for n in range(12)])


def list_jobs(http: httpx.Client) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = http.get("/v1/fine_tuning/jobs").json()["data"]
    return jobs


def go_on(page: Page, name: str) -> None:
    page.get_by_role("link" if name == "model" else "button", name=f"Next: {name}").click()


def test_a_first_job_by_mouse_from_an_empty_home(
    user: Page, http: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "rhymes.jsonl").write_text(GOOD)
    user.goto("/console/")
    user.get_by_role("link", name="Start the first job").click()
    with user.expect_file_chooser() as chooser:
        user.get_by_text("Drop a file here").first.click()
    chooser.value.set_files(tmp_path / "rhymes.jsonl")
    expect(user.locator(".chosen")).to_contain_text("12 examples")
    go_on(user, "model")
    expect(user.get_by_role("radio", name="base", exact=False).first).to_be_checked()
    # The encoder of the catalog cannot learn from chats.
    expect(user.get_by_role("radio", name="small-encoder")).to_be_disabled()
    go_on(user, "hyperparameters")
    go_on(user, "review")
    user.get_by_role("button", name="Start the job").click()
    user.wait_for_url(re.compile(r"/console/jobs/ftjob-"))
    (job,) = list_jobs(http)
    assert job["id"] in user.url
    assert (job["model"], job["method"]["type"]) == ("base", "supervised")


def test_the_example_is_used_without_a_file_at_hand(user: Page) -> None:
    user.goto("/console/jobs/new")
    user.get_by_role("button", name="Use the example").click()
    expect(user.locator(".chosen")).to_contain_text("54 examples")
    # Offered where no file is there to choose from.
    user.get_by_role("link", name="Choose another").click()
    expect(user.get_by_role("link", name="workshop.train.jsonl")).to_be_visible()
    expect(user.get_by_role("button", name="Use the example")).to_have_count(0)


def test_the_estimate_follows_the_numbers(
    user: Page, http: httpx.Client, engine: FakeEngine
) -> None:
    query = f"training_file={upload(http, GOOD)}&model=base&method=supervised"
    user.goto(f"/console/jobs/new?step=numbers&{query}&n_epochs=1")
    tokens = user.locator(".figures div", has_text="Tokens to train")
    expect(tokens).to_contain_text("84")
    user.get_by_label("Epochs").first.fill("2")
    user.get_by_label("Batch size").focus()
    expect(tokens).to_contain_text("168")
    user.get_by_text("What auto chooses, and why").click()
    expect(user.get_by_role("row", name="Epochs 2 as you chose")).to_be_visible()


def test_the_estimate_says_which_number_is_wrong(user: Page, http: httpx.Client) -> None:
    query = f"training_file={upload(http, GOOD)}&model=base&method=supervised"
    user.goto(f"/console/jobs/new?step=numbers&{query}&n_epochs={10**20}")
    expect(user.locator(".warning")).to_contain_text("a whole number from 1 to 50")


def test_the_back_button_and_the_steps_lose_nothing(user: Page, http: httpx.Client) -> None:
    train, test = upload(http, LABELS, "train.jsonl"), upload(http, LABELS, "test.jsonl")
    user.goto("/console/jobs/new")
    user.get_by_role("link", name="train.jsonl").first.click()
    user.get_by_role("heading", name="Test file").click()
    user.locator("section", has_text="Test file").get_by_role("link", name="test.jsonl").click()
    go_on(user, "model")
    user.get_by_role("radio", name="Put texts into classes").check()
    go_on(user, "hyperparameters")
    user.get_by_label("Epochs").first.fill("3")
    user.get_by_text("More hyperparameters").click()
    user.get_by_label("Weights to train").select_option("full")
    user.get_by_label("Name of the model").fill("films")
    go_on(user, "review")
    # A page that is still left for the next one has no history to go back in.
    expect(user.get_by_role("button", name="Start the job")).to_be_visible()
    user.go_back()
    expect(user.get_by_label("Name of the model")).to_have_value("films")
    user.go_forward()
    expect(user.get_by_role("button", name="Start the job")).to_be_visible()
    user.get_by_role("link", name="Data", exact=True).click()
    expect(user.locator(".chosen")).to_have_count(2)
    user.get_by_role("link", name="Review", exact=True).click()
    user.get_by_role("button", name="Start the job").click()
    user.wait_for_url(re.compile(r"/console/jobs/ftjob-"))
    (job,) = list_jobs(http)
    assert (job["training_file"], job["test_file"]) == (train, test)
    assert (job["model"], job["user_provided_suffix"]) == ("small-encoder", "films")
    chosen = job["method"]["classification"]["hyperparameters"]
    assert (chosen["n_epochs"], chosen["tuning"]) == (3, "full")


def test_errors_stand_beside_their_field(user: Page, http: httpx.Client) -> None:
    file_id = upload(http, GOOD)
    query = f"training_file={file_id}&model=base&method=supervised"
    mistakes = (
        ("n_epochs=many", "Epochs"),
        (f"n_epochs={10**20}", "Epochs"),
        (f"seed={10**20}", "Seed"),
        ("learning_rate_multiplier=NaN", "Learning rate, times"),
        ("lora_dropout=-1e999", "LoRA dropout"),
        ("lora_rank=0", "LoRA rank"),
    )
    for bad, label in mistakes:
        user.goto(f"/console/jobs/new?step=review&{query}&{bad}")
        user.get_by_role("button", name="Start the job").click()
        field = user.locator(".field[data-invalid]")
        expect(field.get_by_label(label)).to_be_visible()
        expect(field.get_by_role("alert")).to_contain_text(bad.partition("=")[0])
    # What was typed is still there, and is mended in place.
    user.get_by_label("LoRA rank").fill("8")
    go_on(user, "review")
    user.get_by_role("button", name="Start the job").click()
    user.wait_for_url(re.compile(r"/console/jobs/ftjob-"))
    assert len(list_jobs(http)) == 1


def test_an_invalid_training_file_is_refused_in_place(user: Page, http: httpx.Client) -> None:
    file_id = upload(http, BROKEN)
    user.goto(f"/console/jobs/new?training_file={file_id}")
    expect(user.get_by_role("alert")).to_contain_text("1 line cannot be used. Line 13")
    expect(user.get_by_role("link", name="Next: model")).to_have_count(0)
    user.get_by_role("link", name="Show the line").click()
    expect(user.locator(".wrong-line mark")).to_be_visible()


def test_a_deleted_file_is_said_in_its_place(user: Page) -> None:
    user.goto("/console/jobs/new?training_file=file-gone&model=base")
    expect(user.get_by_role("alert")).to_contain_text("No such File object: file-gone")
    user.goto("/console/jobs/new?step=review")
    expect(user.get_by_role("button", name="Start the job")).to_be_disabled()


def test_models_are_searched(user: Page, http: httpx.Client) -> None:
    file_id = upload(http, lines([PREFERENCE] * 12))
    user.goto(f"/console/jobs/new?step=model&training_file={file_id}")
    expect(user.get_by_text("Prefer one answer over another").first).to_be_visible()
    user.get_by_label("Search models").fill("ENCODER")
    expect(user.locator(".option:visible")).to_have_count(1)
    user.get_by_label("Search models").fill("nothing")
    expect(user.get_by_text("No model matches.")).to_be_visible()


def test_the_programs_of_the_review_run_as_pasted(
    user: Page, http: httpx.Client, api: Api, account: Account
) -> None:
    train, test = upload(http, GOOD, 'it\'s "a" file.jsonl'), upload(http, GOOD)
    user.goto(
        f"/console/jobs/new?step=review&training_file={train}&test_file={test}&model=base"
        "&method=supervised&n_epochs=2&packing=true&suffix=it%27s%20%24HOME&seed=5"
    )
    environment = {"OPENAI_API_KEY": account.secret, "PATH": os.environ["PATH"]}
    shell = ["bash", "-c", user.locator("#curl").inner_text()]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True)
    assert '"fine_tuning.job"' in done.stdout
    program = [sys.executable, "-c", user.locator("#python").inner_text()]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    by_python, by_curl = list_jobs(http)
    assert by_python["id"] == done.stdout.strip()
    for job in (by_python, by_curl):
        assert (job["training_file"], job["test_file"], job["seed"]) == (train, test, 5)
        assert job["user_provided_suffix"] == "it's $HOME"
        assert job["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
        assert job["method"]["supervised"]["hyperparameters"]["packing"] is True


def test_the_steps_are_accessible(user: Page, http: httpx.Client) -> None:
    query = f"training_file={upload(http, LABELS)}&model=small-encoder&method=classification"
    for step in ("data", "model", "numbers", "review"):
        user.goto(f"/console/jobs/new?step={step}&{query}&lora_rank=0")
        assert find_accessibility_violations(user) == [], step


def test_the_form_offers_every_hyperparameter() -> None:
    """Apart from encoders' second names: `full` of `tuning`, `max_length` of `max_seq_length`."""
    for method, schema in hyperparameters.HYPERPARAMETERS_BY_METHOD.items():
        offered = {field.name for field in number_fields.list_fields(method)}
        assert offered == set(schema.model_fields) - {"full", "max_length"}, method


def test_methods_of_a_format_are_those_that_accept_it() -> None:
    accepted = {
        format.value: {method for method, formats in FORMATS_BY_METHOD.items() if format in formats}
        for format in {format for formats in FORMATS_BY_METHOD.values() for format in formats}
    }
    assert {format: set(methods) for format, methods in METHODS_BY_FORMAT.items()} == accepted
