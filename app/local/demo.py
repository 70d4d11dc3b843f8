"""`luthier demo`: fine-tune on the example file through the HTTP API and compare both models.

It uses the public API only. A second run reuses the model of the first, or follows its job if that
is still running.
"""

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console

from app.local import process_specs
from app.local.api_client import ApiClient, connect
from app.local.demo_ui import DemoUi
from app.local.home import key_path
from app.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TRAIN = EXAMPLES / "workshop.train.jsonl"
VALID = EXAMPLES / "workshop.valid.jsonl"
BASE_MODEL = "smollm2-135m-instruct"
# In neither file, and without quotes, so that it is easy to paste into a shell.
QUESTION = "The bridge of my cello fell over and I have a concert on Friday. Can you help?"
HYPERPARAMETERS = {"n_epochs": 3, "batch_size": 6}
SEED = 11
MAX_ANSWER_TOKENS = 48
POLL_INTERVAL_SECONDS = 0.5
# A stack that has just started may need this long until its engine answers.
READY_TIMEOUT_SECONDS = 120


class DemoFailed(Exception):
    """The demo cannot continue; the message says why."""


def run(settings: Settings, console: Console) -> None:
    """Run the demo. Raises DemoFailed and ApiFailed."""
    url, key = process_specs.api_url(settings), key_path(settings)
    with connect(url, key) as api:
        ui = DemoUi(console)
        _wait_until_ready(api)
        model = ensure_tuned_model(api, ui)
        ui.show_answers(QUESTION, {name: ask(api, name) for name in (BASE_MODEL, model)})
        ui.show_next_steps(url=url, key=key, model=model, question=QUESTION)


def ensure_tuned_model(api: ApiClient, ui: DemoUi) -> str:
    """Ensure that a model fine-tuned on the example exists; returns its name."""
    example = sha256(TRAIN.read_bytes()).hexdigest()[:16]
    job = _find_job(api, example)
    if job is None:
        ui.print_line(f"Fine-tuning {BASE_MODEL} on {TRAIN.name} through the API:")
        job = api.post(
            "/v1/fine_tuning/jobs",
            {
                "model": BASE_MODEL,
                "training_file": api.upload(TRAIN),
                "validation_file": api.upload(VALID),
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": HYPERPARAMETERS},
                },
                "suffix": "workshop",
                "seed": SEED,
                "metadata": {"example": example},
            },
        )
    elif job["status"] == "succeeded":
        ui.print_line(f"Using {job['fine_tuned_model']}, trained {_format_date(job)}.")
        return str(job["fine_tuned_model"])
    return follow_job(api, job["id"], ui)


def follow_job(api: ApiClient, job_id: str, ui: DemoUi) -> str:
    """Show a job's progress until it ends; returns the fine-tuned model's name."""
    with ui.show_progress(job_id) as progress:
        seen: set[str] = set()
        while True:
            # The job first, so that its last events are read after it has ended.
            job = api.get(f"/v1/fine_tuning/jobs/{job_id}")
            for event in _poll_new_events(api, job_id, seen):
                progress.add_event(event)
            if job["status"] in ("succeeded", "failed", "cancelled"):
                break
            time.sleep(POLL_INTERVAL_SECONDS)
    if job["status"] != "succeeded":
        reason = (job["error"] or {}).get("message", "no reason given")
        raise DemoFailed(f"The job {job_id} {job['status']}: {reason}")
    seconds = job["finished_at"] - job["created_at"]
    ui.print_line(
        f"{job_id} succeeded after {seconds} s, {job['trained_tokens']} tokens "
        f"trained: {job['fine_tuned_model']}"
    )
    return str(job["fine_tuned_model"])


def ask(api: ApiClient, model: str) -> str:
    """Ask a model the question, at temperature 0; returns its answer."""
    answer = api.post(
        "/v1/chat/completions",
        {
            "model": model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_completion_tokens": MAX_ANSWER_TOKENS,
            "temperature": 0,
        },
    )
    choice = answer["choices"][0]
    ellipsis = " …" if choice["finish_reason"] == "length" else ""
    return f"{choice['message']['content'].strip()}{ellipsis}"


def _find_job(api: ApiClient, example: str) -> dict[str, Any] | None:
    """Find the newest job on this file that is running or whose model still exists."""
    for job in api.get("/v1/fine_tuning/jobs", limit=100)["data"]:
        if (job["metadata"] or {}).get("example") != example:
            continue
        if job["status"] in ("failed", "cancelled"):
            continue
        if job["status"] != "succeeded" or api.exists(f"/v1/models/{job['fine_tuned_model']}"):
            return dict(job)
    return None


def _poll_new_events(api: ApiClient, job_id: str, seen: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the events that are not in `seen`, oldest first, and add them to it."""
    newest = api.get(f"/v1/fine_tuning/jobs/{job_id}/events", limit=100)["data"]
    for event in reversed(newest):
        if event["id"] not in seen:
            seen.add(event["id"])
            yield event


def _wait_until_ready(api: ApiClient) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not api.exists("/readyz"):
        if time.monotonic() > deadline:
            url = str(api.client.base_url.join("/readyz"))
            report = process_specs.fetch_readiness(
                url, timeout_seconds=process_specs.READINESS_TIMEOUT_SECONDS
            )
            problem = (
                "It does not answer." if report is None else process_specs.problems_sentence(report)
            )
            if problem is None:
                return
            raise DemoFailed(
                f"The service is not ready. {problem} Once it is, run `luthier demo`; "
                "for details, run `luthier doctor`."
            )
        time.sleep(POLL_INTERVAL_SECONDS)


def _format_date(job: dict[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(job["finished_at"]))
