"""Fill a service with what pictures of the console show: files, jobs, traffic and an eval.

All of it is real: the jobs train, and the models answer. The rows are those of examples/, and
messages to a workshop that are put together from phrases.
"""

import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.local.api_client import ApiClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CHAT_MODEL, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"
JOBS = "/v1/fine_tuning/jobs"
ENDED = ("succeeded", "failed", "cancelled", "completed")
TRAINING_SECONDS = 900
# At this step of a job it is paused, so that its curves have a mark.
PAUSE_STEP = 12
SEED = 7

INSTRUMENTS = ("violin", "cello", "viola", "double bass", "guitar", "mandolin", "harp", "banjo")
OPENINGS = ("", "Hello. ", "Good morning. ", "Hi, a question. ")
ENDINGS = ("", " I play on Friday.", " There is no hurry.", " Thank you!", " How much is that?")
# The last two phrases of each label are in no training file.
PHRASES = {
    "repair": (
        "My {} has a crack in the back.",
        "The bridge of my {} fell over.",
        "Someone sat on my {} and the neck is loose.",
        "A seam of my {} came open over the winter.",
        "The top of my {} has sunk under the bridge.",
    ),
    "setup": (
        "The strings of my {} are too high to press.",
        "My {} buzzes on the low notes.",
        "Could you move the sound post of my {}?",
        "My {} is hard to play in the upper positions.",
        "The action of my {} feels too stiff.",
    ),
    "strings": (
        "Which strings do you recommend for a {}?",
        "I need a new A string for my {}.",
        "Please put a fresh set of strings on my {}.",
        "My {} still has the strings it came with.",
        "One string of my {} broke during rehearsal.",
    ),
    "rental": (
        "Can I rent a {} for my daughter?",
        "We need a {} for the summer course.",
        "How much is a {} per month?",
        "May I keep the {} for another term?",
        "Do you lend a {} to beginners?",
    ),
    "valuation": (
        "My insurance asks what my {} is worth.",
        "I inherited a {} and want to know its price.",
        "Could you write a certificate for my {}?",
        "Is this {} a copy, or an original?",
        "What could I sell my old {} for?",
    ),
}
# The third line has no answer, the fifth a role that does not exist.
BROKEN_LINES = (
    '{"messages": [{"role": "user", "content": "My bow has lost its hair."}, '
    '{"role": "assistant", "content": "bow | rehair | no rush"}]}',
    '{"messages": [{"role": "user", "content": "Is my cello ready?"}, '
    '{"role": "assistant", "content": "cello | question | today"}]}',
    '{"messages": [{"role": "user", "content": "The peg of my viola slips."}]}',
    '{"messages": [{"role": "user", "content": "I would like to rent a harp."}, '
    '{"role": "assistant", "content": "harp | rental | this week"}]}',
    '{"messages": [{"role": "customer", "content": "How much is a new case?"}, '
    '{"role": "assistant", "content": "case | price | no rush"}]}',
)


def fill(api: ApiClient) -> None:
    """Upload, train and ask; returns while a job is running, and others wait."""
    names = ("train", "valid")
    workshop = {name: _upload(api, *_read(f"workshop.{name}.jsonl")) for name in names}
    translation = {
        name: _upload(api, *_read(f"translation.{name}.jsonl")) for name in (*names, "test")
    }
    requests = {name: _write_requests(name) for name in (*names, "test")}
    files = {
        name: _upload(api, f"requests.{name}.jsonl", _to_lines(rows))
        for name, rows in requests.items()
    }
    _upload(api, "requests-from-the-shop.jsonl", "\n".join(BROKEN_LINES * 3) + "\n")
    tuned = [
        _train_on_workshop(api, workshop, "workshop", n_epochs=3, batch_size=6),
        _train_on_workshop(api, workshop, "workshop-rank-4", n_epochs=3, batch_size=6, lora_rank=4),
    ]
    classifier = _start(
        api,
        ENCODER,
        "classification",
        {"n_epochs": 4},
        suffix="requests",
        **{f"{_FILE_ROLES[name]}_file": id for name, id in files.items()},
    )
    # The trainer goes from one to the next: the second is paused on the way.
    _wait_for_step(api, tuned[1], PAUSE_STEP)
    api.post(f"{JOBS}/{tuned[1]}/pause", {})
    _wait(api, f"{JOBS}/{tuned[1]}", ("paused", *ENDED))
    api.post(f"{JOBS}/{tuned[1]}/resume", {})
    for job in (*tuned, classifier):
        _wait(api, f"{JOBS}/{job}")
    _send_traffic(api, _get_model(api, classifier), requests["test"])
    _run_eval(api, [CHAT_MODEL, _get_model(api, tuned[0])])
    _start_long_jobs(api, translation)


_FILE_ROLES = {"train": "training", "valid": "validation", "test": "test"}


def _read(name: str) -> tuple[str, str]:
    return name, (EXAMPLES / name).read_text()


def _to_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _upload(api: ApiClient, name: str, content: str) -> str:
    response = api.client.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": (name, content.encode())}
    )
    return str(response.raise_for_status().json()["id"])


def _write_requests(split: str) -> list[dict[str, str]]:
    """Messages to the workshop with their labels, each once, in a fixed random order."""
    places = {"train": slice(0, 3), "valid": slice(3, 4), "test": slice(3, 5)}[split]
    rows = [
        {"text": f"{opening}{phrase.format(instrument)}{ending}", "label": label}
        for label, phrases in PHRASES.items()
        for phrase in phrases[places]
        for instrument in INSTRUMENTS
        for opening in OPENINGS
        for ending in ENDINGS
    ]
    random.Random(SEED).shuffle(rows)
    return rows[: {"train": 400, "valid": 60, "test": 150}[split]]


def _start(
    api: ApiClient, model: str, method: str, numbers: Mapping[str, Any], **fields: str
) -> str:
    """Start a job; returns its id."""
    body = {
        "model": model,
        "method": {"type": method, method: {"hyperparameters": numbers}},
        "seed": SEED,
        **fields,
    }
    return str(api.post(JOBS, body)["id"])


def _train_on_workshop(
    api: ApiClient, files: Mapping[str, str], suffix: str, **numbers: int
) -> str:
    return _start(
        api,
        CHAT_MODEL,
        "supervised",
        numbers,
        suffix=suffix,
        training_file=files["train"],
        validation_file=files["valid"],
    )


def _start_long_jobs(api: ApiClient, files: Mapping[str, str]) -> None:
    """Start a job that runs for minutes, and others that wait for it."""
    roles = {f"{_FILE_ROLES[name]}_file": id for name, id in files.items()}
    names = {"long": 20, "short": 2, "draft": 1, "first-try": 1}
    ids = [
        _start(
            api,
            CHAT_MODEL,
            "supervised",
            {"n_epochs": epochs},
            suffix=f"english-german-{name}",
            **roles,
        )
        for name, epochs in names.items()
    ]
    # A job whose files are being checked cannot be paused.
    _wait(api, f"{JOBS}/{ids[2]}", ("queued", "running", *ENDED))
    api.post(f"{JOBS}/{ids[2]}/pause", {})
    api.post(f"{JOBS}/{ids[3]}/cancel", {})
    _wait_for_step(api, ids[0], PAUSE_STEP)


def _send_traffic(api: ApiClient, model: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Ask a classifier, and report the true labels of most texts."""
    for start in range(0, len(rows), 10):
        batch = rows[start : start + 10]
        answer = api.post("/v1/classify", {"model": model, "input": [row["text"] for row in batch]})
        feedback = [
            {"id": answer["id"], "index": index, "label": row["label"]}
            for index, row in enumerate(batch)
            if index % 3
        ]
        api.post(f"/v1/models/{model}/feedback", {"feedback": feedback})


def _run_eval(api: ApiClient, models: Sequence[str]) -> None:
    """Have models answer the validation file, and compare their answers with it."""
    rows = [json.loads(line) for line in _read("workshop.valid.jsonl")[1].splitlines()]
    items = [
        {"item": {"message": question["content"], "line": answer["content"]}}
        for question, answer in (row["messages"] for row in rows)
    ]
    properties = {"message": {"type": "string"}, "line": {"type": "string"}}
    criterion = {
        "type": "string_check",
        "name": "the same line",
        "operation": "eq",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.line }}",
    }
    created = api.post(
        "/v1/evals",
        {
            "name": "Lines of the workshop",
            "data_source_config": {
                "type": "custom",
                "item_schema": {"type": "object", "properties": properties},
                "include_sample_schema": True,
            },
            "testing_criteria": [criterion],
        },
    )
    for model in models:
        source = {
            "type": "completions",
            "model": model,
            "source": {"type": "file_content", "content": items},
            "input_messages": {
                "type": "template",
                "template": [{"role": "user", "content": "{{ item.message }}"}],
            },
            "sampling_params": {"max_completion_tokens": 24, "temperature": 0},
        }
        path = f"/v1/evals/{created['id']}/runs"
        run = api.post(path, {"name": model, "data_source": source})
        _wait(api, f"{path}/{run['id']}")


def _get_model(api: ApiClient, job_id: str) -> str:
    return str(api.get(f"{JOBS}/{job_id}")["fine_tuned_model"])


def _wait(api: ApiClient, path: str, statuses: Sequence[str] = ENDED) -> None:
    """Wait until a job or a run has one of these statuses."""
    _poll(lambda: api.get(path)["status"] in statuses, path)


def _wait_for_step(api: ApiClient, job_id: str, step: int) -> None:
    def is_there() -> bool:
        job = api.get(f"{JOBS}/{job_id}", **{"include[]": "progress"})
        return job["status"] in ENDED or job["progress"]["step"] >= step

    _poll(is_there, job_id)


def _poll(is_done: Any, what: str) -> None:
    deadline = time.monotonic() + TRAINING_SECONDS
    while not is_done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took longer than {TRAINING_SECONDS} s.")
        time.sleep(0.5)
