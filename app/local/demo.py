"""`luthier demo`: a job on the example file through the HTTP API, then both models' answers.

It does nothing that a user could not do, and nothing twice: a model of the same file that is still
there is asked at once, and a job that is still going on is followed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from app.local import services
from app.local.demo_ui import Screen
from app.local.up import key_file
from app.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TRAIN = EXAMPLES / "workshop.train.jsonl"
VALID = EXAMPLES / "workshop.valid.jsonl"
BASE = "smollm2-135m-instruct"
# In neither file; without quotes in it, so that it is easy to paste.
QUESTION = "The bridge of my cello fell over and I have a concert on Friday. Can you help?"
HYPERPARAMETERS = {"n_epochs": 3, "batch_size": 6}
SEED = 11
ANSWER_TOKENS = 48
POLL_SECONDS = 0.5
# A stack that has just started may take so long until its engine answers.
PATIENCE_SECONDS = 120


class DemoFailed(Exception):
    """The demonstration cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Api:
    """The service as its users see it. Errors become DemoFailed with the service's own words."""

    client: httpx.Client

    def get(self, path: str, **query: str | int) -> Any:
        return self._read(self._send("GET", path, params=query))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._read(self._send("POST", path, json=body))

    def upload(self, path: Path) -> str:
        """Upload a training file; returns its id."""
        with path.open("rb") as file:
            answer = self._send(
                "POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": file}
            )
        return str(self._read(answer)["id"])

    def has(self, path: str) -> bool:
        return self._send("GET", path).is_success

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self.client.request(method, path, **arguments)
        except httpx.TransportError as error:
            url = self.client.base_url
            raise DemoFailed(f"{url} does not answer ({error}). Does `luthier up` run?") from error

    def _read(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise DemoFailed(f"The service answers {answer.status_code}: {answer.text}")
        return answer.json()


def run(settings: Settings, console: Console) -> None:
    """Show what the service is for. Raises DemoFailed."""
    key = key_file(settings)
    if not key.exists():
        raise DemoFailed(f"There is no key in {key}. Start `luthier up` first.")
    headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
    url = services.url(settings)
    with httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
        api = Api(client)
        screen = Screen(console)
        _wait_ready(api)
        model = tuned_model(api, screen)
        screen.answers(QUESTION, {name: ask(api, name) for name in (BASE, model)})
        screen.next_steps(url=url, key=key, model=model, question=QUESTION)


def tuned_model(api: Api, screen: Screen) -> str:
    """The name of the model tuned on the example: the one there is, or one made now."""
    example = sha256(TRAIN.read_bytes()).hexdigest()[:16]
    job = _known_job(api, example)
    if job is None:
        screen.say(f"Fine-tuning {BASE} on {TRAIN.name} through the API:")
        job = api.post(
            "/v1/fine_tuning/jobs",
            {
                "model": BASE,
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
        screen.say(f"{job['fine_tuned_model']} is still there from {_date(job)}.")
        return str(job["fine_tuned_model"])
    return follow(api, job["id"], screen)


def follow(api: Api, job_id: str, screen: Screen) -> str:
    """Show a job's progress until it ends; returns the tuned model's name."""
    with screen.progress(job_id) as progress:
        seen: set[str] = set()
        while True:
            # In this order, so that the last events are read after the job has ended.
            job = api.get(f"/v1/fine_tuning/jobs/{job_id}")
            for event in _new_events(api, job_id, seen):
                progress.note(event)
            if job["status"] in ("succeeded", "failed", "cancelled"):
                break
            time.sleep(POLL_SECONDS)
    if job["status"] != "succeeded":
        reason = (job["error"] or {}).get("message", "no reason is given")
        raise DemoFailed(f"The job {job_id} {job['status']}: {reason}")
    seconds = job["finished_at"] - job["created_at"]
    screen.say(
        f"{job_id} succeeded {seconds} s after it was posted, {job['trained_tokens']} tokens "
        f"trained: {job['fine_tuned_model']}"
    )
    return str(job["fine_tuned_model"])


def ask(api: Api, model: str) -> str:
    """What a model answers to the question, without chance in it."""
    answer = api.post(
        "/v1/chat/completions",
        {
            "model": model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_completion_tokens": ANSWER_TOKENS,
            "temperature": 0,
        },
    )
    choice = answer["choices"][0]
    cut = " …" if choice["finish_reason"] == "length" else ""
    return f"{choice['message']['content'].strip()}{cut}"


def _known_job(api: Api, example: str) -> dict[str, Any] | None:
    """The newest job on this very file that has left a model which is still there, or may yet."""
    for job in api.get("/v1/fine_tuning/jobs", limit=100)["data"]:
        if (job["metadata"] or {}).get("example") != example:
            continue
        if job["status"] in ("failed", "cancelled"):
            continue
        if job["status"] != "succeeded" or api.has(f"/v1/models/{job['fine_tuned_model']}"):
            return dict(job)
    return None


def _new_events(api: Api, job_id: str, seen: set[str]) -> Iterator[dict[str, Any]]:
    """Events not in `seen` yet, oldest first; adds them to it."""
    newest = api.get(f"/v1/fine_tuning/jobs/{job_id}/events", limit=100)["data"]
    for event in reversed(newest):
        if event["id"] not in seen:
            seen.add(event["id"])
            yield event


def _wait_ready(api: Api) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not api.has("/readyz"):
        if time.monotonic() > deadline:
            page = str(api.client.base_url.join("/readyz"))
            told = services.readiness(page, seconds=services.PATIENCE_SECONDS)
            why = "It does not answer." if told is None else services.sentences(told)
            if why is None:
                return
            raise DemoFailed(
                f"The service is not ready. {why} Once it is, run `luthier demo`; "
                "`luthier doctor` may know more."
            )
        time.sleep(POLL_SECONDS)


def _date(job: dict[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(job["finished_at"]))
